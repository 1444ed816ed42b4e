"""Measurements of Orrery beside other programs; each folder is one command. Not part of the product."""

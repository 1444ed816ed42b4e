def section(report, c): return ""
def write_section(*a): pass

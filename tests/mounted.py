"""A folder of files as kubelet keeps one: all of them change at once, when the link `..data` is exchanged."""

from collections.abc import Mapping
from pathlib import Path


class MountedVolume:
    """Files in a folder of their own behind `..data`, with a link for the first part of each path."""

    def __init__(self, root: Path, files: Mapping[str, str]) -> None:
        self.root = root
        self._count = 0
        root.mkdir(parents=True, exist_ok=True)
        self.swap(files)

    def swap(self, files: Mapping[str, str]) -> None:
        """Replace all files, as kubelet's atomic writer does."""
        self._count += 1
        payload = self.root / f"..2026_{self._count}"
        for name, text in files.items():
            path = payload / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        fresh = self.root / "..data_tmp"
        fresh.symlink_to(payload.name)
        fresh.rename(self.root / "..data")
        wanted = {name.split("/")[0] for name in files}
        for name in wanted:
            if not (self.root / name).is_symlink():
                (self.root / name).symlink_to(f"..data/{name}")
        for path in self.root.iterdir():
            if not path.name.startswith("..") and path.name not in wanted:
                path.unlink()

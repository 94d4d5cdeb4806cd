"""hf-xet with a `local://` endpoint: one commit for each checkpoint, as files of one commit are not compared with each other."""

import json
import os
from pathlib import Path
from typing import Any

from keepers import Keeper, recall, remember


class Adapter(Keeper):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import hf_xet

        self._xet: Any = hf_xet
        self._session: Any = hf_xet.XetSession()
        self._endpoint = f"local://{folder / 'xet'}"

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {"HF_HOME": str(folder / "home"), "HF_XET_CACHE": str(folder / "cache")}

    def open(self, run: str, policy: str = "all") -> None:
        """There is no run."""

    def keep(self, path: Path, step: int, score: float) -> None:
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        with self._session.new_upload_commit(endpoint=self._endpoint) as commit:
            begun = {
                str(each.relative_to(path.parent)): commit.start_upload_file(str(each)) for each in files
            }
        known = {name: upload.result().xet_info for name, upload in begun.items()}
        listing = {name: [info.hash, info.file_size] for name, info in known.items()}
        remember(self.folder, f"{path.name}.json", json.dumps(listing))

    def close(self) -> None:
        """All of it is done in the commits."""

    def fetch(self, run: str, name: str, step: int, to: Path) -> Path:
        listing = json.loads(recall(self.folder, f"{name}.json"))
        with self._session.new_file_download_group(endpoint=self._endpoint) as group:
            for file, (digest, size) in listing.items():
                target = to / file
                os.makedirs(target.parent, exist_ok=True)
                group.start_download_file(self._xet.XetFileInfo(digest, size), str(target))
        return to / name

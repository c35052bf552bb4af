"""An OpenPBS that replays what a real one printed: programs for PATH, and what they were called with."""

from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"

QSTAT = """#!/bin/sh
echo "qstat $*" >> "{folder}/calls"
[ "$1" = --version ] && {{ echo 'pbs_version = 23.06.06'; exit 0; }}
for last; do :; done
case "$last" in
    json) cat "{recorded}/qstat_t_f_json_all.json" ;;
    "13[].rushpbs") cat "{recorded}/qstat_t_f_json_array_running.json" ;;
    0.rushpbs) cat "{recorded}/qstat_x_f_json_ok.json" ;;
    7.rushpbs) cat "{recorded}/qstat_x_f_json_never_run.json" ;;
    {walltime}) cat "{recorded}/qstat_x_f_json_walltime.json" ;;
    {deleted}) cat "{recorded}/qstat_x_f_json_deleted.json" ;;
    away.rushpbs) echo 'cannot connect to server rushpbs (errno=111)' >&2; exit 111 ;;
    *) echo "qstat: Unknown Job Id $last" >&2; exit 153 ;;
esac
"""

QSUB = """#!/bin/sh
echo "qsub $*" >> "{folder}/calls"
env > "{folder}/environment"
for last; do :; done
case "$(cat "$last")" in
    *"-q nowhere"*) echo 'qsub: Unknown queue' >&2; exit 170 ;;
    *"-J "*) echo '13[].rushpbs' ;;
    *) echo 'Welcome to the cluster'; echo '0.rushpbs' ;;
esac
"""

OTHER = """#!/bin/sh
echo "{program} $*" >> "{folder}/calls"
case "$*" in *14.rushpbs*) exit {code} ;; esac
"""


class FakePBS:
    """Programs in a folder; `calls` are the command lines that they were run with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = {"folder": folder, "recorded": RECORDED, "walltime": "10.rushpbs", "deleted": "16.rushpbs"}
        self._write("qstat", QSTAT.format(**names))
        self._write("qsub", QSUB.format(**names))
        self._write("qsig", OTHER.format(program="qsig", code=138, **names))
        self._write("qdel", OTHER.format(program="qdel", code=35, **names))

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def environment(self) -> str:
        return (self.folder / "environment").read_text()

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

"""What processes cost: CPU seconds and peak memory, read from /proc through psutil."""

from __future__ import annotations

import psutil


def cpu_seconds(root: int) -> float:
    """CPU seconds of the process and all that descend from it, its ended children included."""
    times = [process.cpu_times() for process in _tree(root)]
    return sum(t.user + t.system for t in times) + times[0].children_user + times[0].children_system


def peak_rss_mb(root: int) -> list[float]:
    """The peak resident memory of each direct child (a server's workers), in MB, the greatest first."""
    found = []
    for child in psutil.Process(root).children():
        with open(f"/proc/{child.pid}/status", encoding="ascii") as status:  # noqa: PTH123 – no file of ours
            peak = next((line for line in status if line.startswith("VmHWM")), "VmHWM 0 kB")
        found.append(round(int(peak.split()[1]) / 1024, 1))
    return sorted(found, reverse=True)


def _tree(root: int) -> list[psutil.Process]:
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]

"""What a process sets for itself before it loads a model."""

import contextlib
import ctypes
import logging
import os
import warnings


def prepare_process() -> None:
    """Settings of the process that must stand before PyTorch and transformers are imported, and take effect only then.

    On a CPU a training step frees and takes gigabytes in large blocks. glibc hands such blocks back to the system each
    time, so that half of the time goes into page faults; kept in the heap, on huge pages, training runs 2.3 times as
    fast (benchmarks/train.py).
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of a kernel that it does without
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl")  # told to their authors
    with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        m_trim_threshold, m_mmap_threshold, largest = -1, -3, 2**31 - 1
        mallopt(m_mmap_threshold, largest)
        mallopt(m_trim_threshold, largest)

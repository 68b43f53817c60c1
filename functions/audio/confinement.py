"""What a process may do that handles strangers' text with code that is not to be trusted: compute, and read one folder.

Limits of the process (setrlimit), Landlock for files, seccomp for the network, for other processes and for programs.
Standard library only: it runs in a process that imports nothing else. Sources: Linux's landlock(7), seccomp(2),
linux/landlock.h, linux/filter.h.
"""

import ctypes
import os
import platform
import resource
import struct

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
LANDLOCK_READ_FILE, LANDLOCK_READ_DIR = 1 << 2, 1 << 3
# How many rights over files each version of Landlock knows; a later one knows those of the last.
LANDLOCK_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}

# BPF: load a word, jump if equal, return; what seccomp returns.
BPF_LOAD, BPF_JUMP_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
OFFSET_NUMBER, OFFSET_ARCHITECTURE = 0, 4
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000

# By architecture: its number, and those of the calls that are refused.
ARCHITECTURES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41, "connect": 42, "accept": 43, "accept4": 288, "sendto": 44, "sendmsg": 46, "sendmmsg": 307,
            "bind": 49, "listen": 50, "socketpair": 53, "clone": 56, "fork": 57, "vfork": 58, "clone3": 435,
            "execve": 59, "execveat": 322, "kill": 62, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
            "pidfd_getfd": 438, "mount": 165, "unshare": 272, "bpf": 321, "io_uring_setup": 425,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "socket": 198, "connect": 203, "accept": 202, "accept4": 242, "sendto": 206, "sendmsg": 211,
            "sendmmsg": 269, "bind": 200, "listen": 201, "socketpair": 199, "clone": 220, "clone3": 435, "execve": 221,
            "execveat": 281,
            "kill": 129, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_getfd": 438,
            "mount": 40, "unshare": 97, "bpf": 280, "io_uring_setup": 425,
        },
    ),
}  # fmt: skip


def confine(readable_folder: str, memory_bytes: int, open_files: int) -> list[str]:
    """Confine this process, which has one thread; returns what of it this kernel or container does not let be done.

    It may hold `memory_bytes` of addresses and `open_files` descriptors, read below `readable_folder`, and neither
    write files, nor start processes or programs, nor use a network.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (value, value))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    measures = {"files (Landlock)": _landlock(libc, readable_folder), "network and processes (seccomp)": _seccomp(libc)}
    return [name for name, done in measures.items() if not done]


def limit_cpu_seconds(more: int) -> None:
    """From now on this process may compute for `more` seconds; after that it is killed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + more, hard))


def _landlock(libc: ctypes.CDLL, folder: str) -> bool:
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return False
    rights = (1 << LANDLOCK_FILE_RIGHTS.get(version, 16)) - 1
    handled = struct.pack("=Q", rights)
    rules = libc.syscall(LANDLOCK_CREATE_RULESET, handled, len(handled), 0)
    opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", LANDLOCK_READ_FILE | LANDLOCK_READ_DIR, opened)
    added = libc.syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    done: bool = rules >= 0 and added == 0 and libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) == 0
    os.close(opened)
    if rules >= 0:
        os.close(rules)
    return done


def _seccomp(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in ARCHITECTURES:
        return False
    architecture, refused = ARCHITECTURES[platform.machine()]
    # Each instruction is code, jump if true, jump if false, value. A refused number jumps to the last one.
    program = [
        (BPF_LOAD, 0, 0, OFFSET_ARCHITECTURE),
        (BPF_JUMP_EQUAL, 1, 0, architecture),
        (BPF_RETURN, 0, 0, KILL),
        (BPF_LOAD, 0, 0, OFFSET_NUMBER),
        *((BPF_JUMP_EQUAL, len(refused) - at, 0, number) for at, number in enumerate(refused.values())),
        (BPF_RETURN, 0, 0, ALLOW),
        (BPF_RETURN, 0, 0, REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    # struct sock_fprog: a count, padding, a pointer.
    loaded = struct.pack("@HP", len(program), ctypes.addressof(code))
    done: bool = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, loaded, 0, 0) == 0
    return done

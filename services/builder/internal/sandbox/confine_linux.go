package sandbox

import (
	"fmt"
	"runtime"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/landlock-lsm/go-landlock/landlock"
	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// overhead is what the Go runtime keeps writable beyond the memory its limit
// counts: whole arenas, their index, stacks of threads.
const overhead = 256 << 20

// confine takes from the process what it does not need and returns the version
// of Landlock in force, 0 for none.
func confine(s setup) (int, error) {
	limits := map[int]uint64{
		unix.RLIMIT_DATA:  uint64(s.Memory) + overhead,
		unix.RLIMIT_CORE:  0,
		unix.RLIMIT_FSIZE: 0,
	}
	for resource, value := range limits {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
			return 0, fmt.Errorf("limit resource %d: %w", resource, err)
		}
	}
	abi, err := confineFiles(s.Folder)
	if err != nil {
		return 0, err
	}
	return abi, confineCalls()
}

// confineFiles allows reading below folder only, as far as the kernel knows how.
func confineFiles(folder string) (int, error) {
	abi, missing := llsyscall.LandlockGetABIVersion()
	if missing != nil {
		abi = 0 // the kernel has no Landlock, nothing is restricted, and the parent logs it
	}
	const read = landlock.AccessFSSet(llsyscall.AccessFSReadFile | llsyscall.AccessFSReadDir)
	if err := landlock.V7.BestEffort().Restrict(landlock.PathAccess(read, folder)); err != nil {
		return 0, fmt.Errorf("restrict files to %s: %w", folder, err)
	}
	return abi, nil
}

// notThere answers ENOSYS, on which the C library falls back to clone, whose
// flags a filter can see.
const notThere = seccomp.Action(0x00050000 | uint32(unix.ENOSYS))

// confineCalls allows the system calls that the Go runtime and reading files
// need, and answers every other one with EPERM.
func confineCalls() error {
	if !seccomp.Supported() {
		return fmt.Errorf("confine the build: this kernel has no seccomp")
	}
	runtime.LockOSThread() // no_new_privs is set by thread; TSYNC takes it to the others
	defer runtime.UnlockOSThread()
	names, err := known(allowed())
	if err != nil {
		return err
	}
	filter := seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls: []seccomp.SyscallGroup{
				{Action: seccomp.ActionAllow, Names: names},
				{Action: seccomp.ActionAllow, NamesWithCondtions: conditional()},
				{Action: notThere, Names: []string{"clone3"}},
			},
		},
	}
	if err := seccomp.LoadFilter(filter); err != nil {
		return fmt.Errorf("confine system calls: %w", err)
	}
	return nil
}

// conditional lists the calls that are allowed with some arguments only: clone
// for a thread, and reading a resource limit but not setting one.
func conditional() []seccomp.NameWithConditions {
	return []seccomp.NameWithConditions{
		{Name: "clone", Conditions: []seccomp.Condition{
			{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
		}},
		{Name: "prlimit64", Conditions: []seccomp.Condition{
			{Argument: 2, Operation: seccomp.Equal, Value: 0},
		}},
	}
}

// allowed lists the calls by what they are for. What opens files is further
// bounded by Landlock.
func allowed() []string {
	return []string{
		"read", "readv", "pread64", "write", "writev", "close", "lseek", "fcntl",
		"open", "openat", "openat2", "fstat", "newfstatat", "fstatat64", "statx", "readlinkat", "getdents64", "fstatfs",
		"mmap", "munmap", "mprotect", "madvise", "mremap", "brk", "mincore",
		"futex", "nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday", "time",
		"sched_yield", "sched_getaffinity", "getcpu", "membarrier", "rseq", "set_robust_list", "set_tid_address",
		"getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "tgkill",
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
		"exit", "exit_group",
		"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "pipe2",
		"getrandom", "uname", "getrlimit", "arch_prctl",
	}
}

// known drops the names that this architecture does not have.
func known(names []string) ([]string, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("confine system calls: %w", err)
	}
	var out []string
	for _, name := range names {
		if _, ok := info.SyscallNames[name]; ok {
			out = append(out, name)
		}
	}
	return out, nil
}

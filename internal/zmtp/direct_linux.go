package zmtp

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// once makes one attempt. It is a raw system call, as it never waits: what it costs to tell Go's scheduler about it is saved.
func (w *socketWriter) once(fd uintptr) (done bool) {
	if len(w.p) == 0 {
		return true
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&w.p[0])), uintptr(len(w.p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	switch errno {
	case 0:
		w.n = int(n)
	case unix.EAGAIN, unix.EINTR: // the rest is left to who can wait
	default:
		w.err = os.NewSyscallError("sendto", errno)
	}
	return true
}

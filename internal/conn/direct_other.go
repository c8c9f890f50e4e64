//go:build unix && (!linux || race)

package conn

import "syscall"

func directRead(fd uintptr, p []byte) (int, error)  { return syscall.Read(int(fd), p) }
func directWrite(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }

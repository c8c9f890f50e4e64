//go:build unix

package profile

import (
	"os"
	"syscall"
	"testing"
)

// TestIdentityFilePipe is `-i <(command)`: it can be read only once.
func TestIdentityFilePipe(t *testing.T) {
	key := newKey()
	f := newIdentityFile(t, key, pkcs8(key))
	data := f.bytes()
	check(t, os.Remove(f.path))
	if err := syscall.Mkfifo(f.path, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(f.path, data, 0o600) }()
	p := f.load()
	check(t, <-written)
	for range 2 {
		_, err := p.TLSCert()
		check(t, err)
		_, _, err = p.SSHSigner()
		check(t, err)
	}
	if loose := p.LooseFiles(); loose != nil {
		t.Errorf("LooseFiles = %q", loose)
	}
}

package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tshx/internal/lab"
)

// A kubeconfig that is to go where something else is than a file is refused in one
// line before anything is read there, which might wait for good, and what is
// there stays.
func TestProxyKubeNoPlace(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	pipe := func(t *testing.T, path string) {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string // of the file
		make func(t *testing.T, path string)
		want string
	}{
		{"pipe", pipe, "is not a regular file"},
		{"link", func(t *testing.T, path string) {
			pipe(t, path+".pipe")
			if err := os.Symlink(path+".pipe", path); err != nil {
				t.Fatal(err)
			}
		}, "is not a regular file"},
		{"socket", func(t *testing.T, path string) {
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
		}, "is not a regular file"},
		{"device", func(t *testing.T, path string) { // as /dev/null is
			if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
				t.Skipf("only root makes devices: %v", err)
			}
		}, "is not a regular file"},
		{"directory", func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, "is not a regular file"},
		{"a" + string(filepath.ListSeparator) + "b", func(*testing.T, string) {}, `KUBECONFIG cannot name a path with ":" in it`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), tt.name)
			tt.make(t, path)
			before := kinds(t, filepath.Dir(path))
			code, out, talk := k.tshx("proxy", "kube", "demo", "--port=0", "--kubeconfig", path, "--", "echo", "ran")
			want := "tshx: write kubeconfig " + path + ": " + tt.want + "; name another file with --kubeconfig or TELEPORT_KUBECONFIG\n"
			if code != exitFailure || out != "" || talk != want {
				t.Errorf("exit code %d, %s%s", code, out, talk)
			}
			if diff := cmp.Diff(before, kinds(t, filepath.Dir(path))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// kinds tells what a directory has.
func kinds(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		found[e.Name()] = e.Type().String()
	}
	return found
}

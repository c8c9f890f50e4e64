package dbproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSection(t *testing.T) {
	tests := []struct {
		name     string
		old      string
		section  string
		settings []string
		want     string
		without  string // after DropSection
	}{
		{"new file", "", "c-d", []string{"host=h"}, "[c-d]\nhost=h\n", ""},
		{
			"at the end", "# mine\n[other]\nhost=o\n", "c-d", []string{"host=h", "port=1"},
			"# mine\n[other]\nhost=o\n\n[c-d]\nhost=h\nport=1\n", "# mine\n[other]\nhost=o\n",
		},
		{"no last line end", "[other]\nhost=o", "c-d", []string{"host=h"}, "[other]\nhost=o\n\n[c-d]\nhost=h\n", "[other]\nhost=o\n"},
		{
			"in its place", "[a]\nx=1\n[c-d]\nhost=old\nuser=old\n\n# about b\n[b]\ny=2\n", "c-d", []string{"host=h"},
			"[a]\nx=1\n[c-d]\nhost=h\n\n# about b\n[b]\ny=2\n", "[a]\nx=1\n\n# about b\n[b]\ny=2\n",
		},
		{
			"comments and includes within", "[c-d]\nhost=old\n# why\nport=2\n!includedir /etc/x\n", "c-d", []string{"host=h"},
			"[c-d]\nhost=h\n# why\n!includedir /etc/x\n", "# why\n!includedir /etc/x\n",
		},
		{"line ends of Windows", "[a]\r\nx=1\r\n", "c-d", []string{"host=h"}, "[a]\r\nx=1\r\n\r\n[c-d]\r\nhost=h\r\n", "[a]\r\nx=1\r\n"},
		{"mixed line ends", "[a]\nx=1\r\n", "c-d", []string{"host=h"}, "[a]\nx=1\r\n\n[c-d]\nhost=h\n", "[a]\nx=1\r\n"},
		{"in two parts", "[c-d]\nhost=1\n[a]\nx=1\n[ c-d ]\nport=2\n", "c-d", []string{"host=h"}, "[c-d]\nhost=h\n[a]\nx=1\n", "[a]\nx=1\n"},
		{
			"between others", "[a]\nx=1\n\n[c-d]\nhost=old\n\n[b]\ny=2\n", "c-d", []string{"host=h"},
			"[a]\nx=1\n\n[c-d]\nhost=h\n\n[b]\ny=2\n", "[a]\nx=1\n\n[b]\ny=2\n",
		},
		{"longer name", "[c-dd]\nhost=o\n", "c-d", []string{"host=h"}, "[c-dd]\nhost=o\n\n[c-d]\nhost=h\n", "[c-dd]\nhost=o\n"},
		{"mark before the first line", "\ufeff[c-d]\nhost=o\n", "c-d", []string{"host=h"}, "\ufeff[c-d]\nhost=h\n", "\ufeff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := SetSection([]byte(tt.old), tt.section, tt.settings)
			if d := cmp.Diff(tt.want, string(got)); d != "" {
				t.Error(d)
			}
			if again := SetSection(got, tt.section, tt.settings); !bytes.Equal(again, got) {
				t.Errorf("written again: %q", again)
			}
			dropped, was := DropSection(got, tt.section)
			if d := cmp.Diff(tt.without, string(dropped)); d != "" || !was {
				t.Errorf("dropped %v: %s", was, d)
			}
			if again, was := DropSection(dropped, tt.section); was || !bytes.Equal(again, dropped) {
				t.Errorf("dropped again: %v, %q", was, again)
			}
		})
	}
}

func TestUnwritable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, tt := range []struct {
		section string
		setting string
	}{{"", "a=1"}, {"a\nb", "a=1"}, {"a]b", "a=1"}, {" a", "a=1"}, {"s", "a=1\nb=2"}, {"s", "[x]"}, {"s", ""}, {"s", "# a"}} {
		if err := WriteSection(path, tt.section, []string{tt.setting}); !errors.Is(err, ErrUnwritable) {
			t.Errorf("%q, %q: %v", tt.section, tt.setting, err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

func TestWriteSection(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		mode fs.FileMode // 0: no file
		want fs.FileMode
	}{{"new", 0, 0o600}, {"open", 0o644, 0o644}, {"private", 0o600, 0o600}, {"read only", 0o400, 0o400}} {
		path := filepath.Join(dir, tt.name)
		if tt.mode != 0 {
			if err := os.WriteFile(path, []byte("[a]\nx=1\n"), tt.mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := (ClientFile{Section: "s", Settings: []string{"y=2"}}).Write(path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || !strings.HasSuffix(string(data), "[s]\ny=2\n") {
			t.Errorf("%s: %q, %v", tt.name, data, err)
		}
		if st, err := os.Stat(path); runtime.GOOS != "windows" && (err != nil || st.Mode().Perm() != tt.want) {
			t.Errorf("%s: mode %v, %v", tt.name, st.Mode(), err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestWriteSectionLinks(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "dotfiles")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, ".my.cnf")
	if err := os.Symlink(filepath.Join("dotfiles", "my.cnf"), link); err != nil {
		t.Skip(err)
	}
	for range 2 { // the first time it leads to nothing yet
		if err := WriteSection(link, "s", []string{"y=2"}); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Lstat(link); err != nil || st.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link is %v, %v", st.Mode(), err)
	}
	if data, err := os.ReadFile(filepath.Join(real, "my.cnf")); err != nil || string(data) != "[s]\ny=2\n" {
		t.Errorf("%q, %v", data, err)
	}
	circle := filepath.Join(dir, "circle")
	if err := os.Symlink(circle, circle); err != nil {
		t.Fatal(err)
	}
	if err := WriteSection(circle, "s", []string{"y=2"}); !errors.Is(err, ErrTooManyLinks) {
		t.Errorf("a circle: %v", err)
	}
	if err := WriteSection(dir, "s", []string{"y=2"}); err == nil {
		t.Error("a directory was written to")
	}
}

// TestWriteSectionParallel: of logins at the same time, none is lost.
func TestWriteSectionParallel(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no locks on directories")
	}
	const writers = 16
	path := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			if err := WriteSection(path, fmt.Sprint("s", i), []string{"y=2"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if data, err := os.ReadFile(path); err != nil || bytes.Count(data, []byte("y=2\n")) != writers {
		t.Errorf("%q, %v", data, err)
	}
}

func TestRemoveSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if removed, err := RemoveSection(path, "s"); removed || err != nil {
		t.Errorf("no file: %v, %v", removed, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
	if err := os.WriteFile(path, []byte("[a]\nx=1\n\n[s]\ny=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if removed, err := RemoveSection(path, "s"); !removed || err != nil {
		t.Errorf("%v, %v", removed, err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "[a]\nx=1\n" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestClientFilePath(t *testing.T) {
	none := func(string) string { return "" }
	set := func(name string) string { return map[string]string{"PGSERVICEFILE": "/etc/pg"}[name] }
	pg, my := postgres.ClientFile(Endpoint{}, "c", "d"), mysql.ClientFile(Endpoint{}, "c", "d")
	for _, tt := range []struct{ got, want string }{
		{pg.Path("/home/a", none), filepath.Join("/home/a", ".pg_service.conf")}, {pg.Path("/home/a", set), "/etc/pg"},
		{my.Path("/home/a", set), filepath.Join("/home/a", ".my.cnf")},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}

// TestClientsReadFiles: the real programs find the database by the section.
func TestClientsReadFiles(t *testing.T) {
	for _, e := range []*Engine{&postgres, &mysql} {
		at := refusing(t, e, true, Refusal{Text: refusedText})
		at.User, at.Has = `al"ice # \x`, installed("mariadb")
		f := e.ClientFile(at, "real.example.com", "orders")
		home := t.TempDir()
		if err := f.Write(f.Path(home, func(string) string { return "" })); err != nil {
			t.Fatal(err)
		}
		more := []string{"-e", "select 1"}
		if e == &postgres {
			more = []string{"-Xc", "select 1"}
		}
		byName := sayWith(t, []string{"HOME=" + home}, append(slices.Clone(f.Use), more...)...)
		byEnv := sayWith(t, append(slices.Clone(f.Env), "HOME="+home), append(f.Use[:1:1], more...)...)
		for _, out := range []string{byName, byEnv} {
			if !strings.HasSuffix(out, refusedText) {
				t.Errorf("%s says %q", f.Use[0], out)
			}
		}
	}
}

func FuzzSection(f *testing.F) {
	f.Add([]byte("# c\n[a]\nx=1\n\n[s]\ny=1\n# d\n[b]\r\nz"), "s", "y=2")
	f.Add([]byte("\ufeff[s]\r\ny"), "s", "a b")
	f.Add([]byte("[ s ]x\n\n\n!include\n[s"), "s", "k")
	f.Fuzz(func(t *testing.T, old []byte, section, setting string) {
		if checkSection(section, []string{setting}) != nil {
			t.Skip()
		}
		set := SetSection(old, section, []string{setting})
		if again := SetSection(set, section, []string{setting}); !bytes.Equal(again, set) {
			t.Fatalf("%q becomes %q and then %q", old, set, again)
		}
		_, lines, _ := splitLines(set)
		rest, at, found := takeSection(lines, section)
		if !found || len(lines)-len(rest) != 2 || strings.TrimRight(lines[at+1], "\r\n") != setting {
			t.Fatalf("%q: section not in %q", old, set)
		}
		// Nothing of the rest is lost, but for the line end that was missing.
		_, before, _ := splitLines(old)
		foreign, _, had := takeSection(before, section)
		if kept, was := strings.Join(rest, ""), strings.Join(foreign, ""); had && kept != was || !strings.HasPrefix(kept, was) {
			t.Fatalf("%q: kept %q of %q", old, kept, was)
		}
		dropped, had := DropSection(set, section)
		if again, still := DropSection(dropped, section); !had || still || !bytes.Equal(again, dropped) {
			t.Fatalf("%q: dropped %v, %v, %q", set, had, still, dropped)
		}
	})
}

package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// procText is a table of a machine whose numbers have the order of this one.
func procText(lines ...string) string {
	return "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		strings.Join(lines, "\n") + "\n"
}

// procAddr writes an address as the kernel does.
func procAddr(text string) string {
	ap := netip.MustParseAddrPort(text)
	var out strings.Builder
	for ip := ap.Addr().AsSlice(); len(ip) > 0; ip = ip[4:] {
		fmt.Fprintf(&out, "%08X", binary.NativeEndian.Uint32(ip))
	}
	return fmt.Sprintf("%s:%04X", out.String(), ap.Port())
}

func procLine(local, remote string, state, uid, inode int) string {
	return fmt.Sprintf("   0: %s %s %02X 00000000:00000000 00:00000000 00000000 %5d        0 %d 1 0000000000000000 20 4 30 10 -1",
		procAddr(local), procAddr(remote), state, uid, inode)
}

func procFile(t *testing.T, text string) procNet {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tcp")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return procNet{path, path + "6"}
}

func TestProcNet(t *testing.T) {
	ap := netip.MustParseAddrPort
	text := procText(
		procLine("127.0.0.1:5432", "0.0.0.0:0", 10, 26, 11),
		procLine("127.0.0.1:40000", "127.0.0.1:5432", 1, 1000, 12),
		"   2: 0100007F:1538 00000000:0000 0A",                  // cut off
		"   3: 0100007F1538 0100007F:0001 0A 0:0 0:0 0 1 0 4",   // no port
		"   4: 0100007F:1538 0100007F:10000 0A 0:0 0:0 0 1 0 4", // a port too large
		"   5: 01:1538 0100007F:0001 0A 0:0 0:0 0 1 0 4",        // half an address
		"   6: 0100007F:1538 0100007F:0001 0A 0:0 0:0 0 -1 0 4", // no user
		procLine("[::ffff:127.0.0.1]:40001", "[::ffff:127.0.0.1]:5432", 4, 4294967295, 13),
		procLine("[2001:db8::1]:5432", "[2001:db8::2]:22", 6, 0, 0),
		procLine("127.0.0.1:40003", "127.0.0.1:22", 1, 1000, 14), // another port
	)
	want := []socket{
		{ap("127.0.0.1:5432"), ap("0.0.0.0:0"), stateListen, 26, 11},
		{ap("127.0.0.1:40000"), ap("127.0.0.1:5432"), stateEstablished, 1000, 12},
		{ap("127.0.0.1:40001"), ap("127.0.0.1:5432"), stateFinWait1, int(uint32(4294967295)), 13},
		{ap("[2001:db8::1]:5432"), ap("[2001:db8::2]:22"), 6, 0, 0},
	}
	var got []socket
	if err := procFile(t, text).each(5432, func(s socket) bool { got = append(got, s); return true }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(socket{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

// The order of the bytes is that of the kernel, not only of procAddr above.
func TestParseProcReal(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the line is from a little-endian machine")
	}
	s, ok := parseProc("  12: 0100007F:D2F0 0100007F:1538 01 00000000:00000000 02:00000A3B 00000000  1000        0 73451 2 00000000e0c1f2aa 20 4 30 10 -1")
	want := socket{netip.MustParseAddrPort("127.0.0.1:54000"), netip.MustParseAddrPort("127.0.0.1:5432"), stateEstablished, 1000, 73451}
	if !ok || s != want {
		t.Errorf("%v %v, want %v", s, ok, want)
	}
}

func TestProcNetErrors(t *testing.T) {
	if err := (procNet{"/none"}).each(1, nil); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
	if err := procFile(t, strings.Repeat("x", 1<<20)).each(1, nil); err == nil {
		t.Error("an endless line is no error")
	}
}

func TestHeld(t *testing.T) {
	for state := range uint8(16) {
		want := state == 1 || state == 4 || state == 5 || state == 8 || state == 9 || state == 11
		if got := (socket{state: state, inode: 1}).held(); got != want {
			t.Errorf("state %d: held %v, want %v", state, got, want)
		}
		if (socket{state: state, uid: 1000}).held() {
			t.Errorf("state %d without a process: held", state)
		}
	}
}

// diagReply is an answer of sock_diag.
func diagReply(kind uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(sizeHeader+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, make([]byte, 10)...)
	return append(b, body...)
}

func TestParseDiag(t *testing.T) {
	errno := func(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-n)) }
	found := make([]byte, 72)
	found[0], found[1] = unix.AF_INET6, stateEstablished
	copy(found[4:], []byte{0x9c, 0x40, 0x15, 0x38})
	copy(found[8:], netip.MustParseAddr("::ffff:127.0.0.1").AsSlice())
	copy(found[24:], netip.MustParseAddr("2001:db8::2").AsSlice())
	binary.NativeEndian.PutUint32(found[64:], 1000)
	binary.NativeEndian.PutUint32(found[68:], 77)
	for _, tt := range []struct {
		name  string
		reply []byte
		found bool
		want  socket
		err   error
	}{
		{"found", diagReply(unix.SOCK_DIAG_BY_FAMILY, found), true, socket{
			netip.MustParseAddrPort("127.0.0.1:40000"), netip.MustParseAddrPort("[2001:db8::2]:5432"), stateEstablished, 1000, 77}, nil},
		{"not found", diagReply(unix.NLMSG_ERROR, errno(int32(unix.ENOENT))), false, socket{}, nil},
		{"refused", diagReply(unix.NLMSG_ERROR, errno(int32(unix.EPERM))), false, socket{}, unix.EPERM},
		{"nothing", nil, false, socket{}, errReply},
		{"header only", diagReply(unix.NLMSG_ERROR, nil), false, socket{}, errReply},
		{"cut off", diagReply(unix.SOCK_DIAG_BY_FAMILY, found[:71]), false, socket{}, errReply},
		{"something else", diagReply(unix.NLMSG_DONE, found), false, socket{}, errReply},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, ok, err := parseDiag(tt.reply)
			if ok != tt.found || s != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%v, %v, %v", s, ok, err)
			}
		})
	}
}

func FuzzParseDiag(f *testing.F) {
	f.Add([]byte{})
	f.Add(diagReply(unix.NLMSG_ERROR, make([]byte, 4)))
	f.Add(diagReply(unix.SOCK_DIAG_BY_FAMILY, make([]byte, 72)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, found, err := parseDiag(b); found && (err != nil || !s.local.IsValid() || s.local.Addr().Is4In6()) {
			t.Errorf("%v, %v", s, err)
		}
	})
}

// What is read can be written and read again.
func FuzzParseProc(f *testing.F) {
	f.Add(procLine("127.0.0.1:1", "127.0.0.1:2", 1, 0, 3))
	f.Add(procLine("[::1]:1", "[::ffff:10.0.0.1]:65535", 10, 4294967295, 0))
	f.Add("0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1")
	f.Fuzz(func(t *testing.T, line string) {
		s, ok := parseProc(line)
		if !ok {
			return
		}
		if s.inode > 1<<62 || s.local.Addr().Is4In6() {
			return
		}
		again, ok := parseProc(procLine(s.local.String(), s.remote.String(), int(s.state), s.uid, int(s.inode)))
		if !ok || again != s {
			t.Errorf("%q: %v, then %v", line, s, again)
		}
	})
}

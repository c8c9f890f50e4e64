//go:build linux

package integration

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/profile"
)

// subject is one of the programs that BenchmarkPeers compares: a client of
// mutual TLS with a plain listener on loopback.
type subject struct {
	name string
	addr string
	pid  int
}

// startSubjects runs all that are installed, for the same server and with the
// same certificate.
func startSubjects(b *testing.B, u *upstream) []subject {
	b.Helper()
	dir := b.TempDir()
	cert, ca := u.exportLogin(b, dir)
	list := []subject{startTshx(b, u)}
	for _, p := range []struct{ name, program, config string }{
		{"stunnel", "stunnel4", stunnelBench},
		{"haproxy", "haproxy", haproxyBench},
	} {
		if _, err := exec.LookPath(p.program); err != nil {
			b.Logf("%s is not installed, and not compared", p.program)
			continue
		}
		port, err := peer.FreePort()
		check(b, err)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		conf := filepath.Join(dir, p.name+".conf")
		text := strings.NewReplacer("LISTEN", addr, "CONNECT", u.addr, "CERT", cert, "CAFILE", ca, "MAXCONN", strconv.Itoa(manyConns)).Replace(p.config)
		check(b, os.WriteFile(conf, []byte(text), 0o600))
		argv := []string{p.program, conf}
		if p.name == "haproxy" {
			argv = []string{p.program, "-db", "-f", conf}
		}
		pr := launch(b, options{}, argv...)
		b.Cleanup(func() { pr.signal(syscall.SIGKILL); pr.wait() })
		list = append(list, subject{p.name, addr, pr.cmd.Process.Pid})
		if !eventually(patience, func() bool {
			c, err := echoer(addr)
			if err == nil {
				c.Close()
			}
			return err == nil || pr.ended()
		}) || pr.ended() {
			b.Fatalf("%s does not work: %s%s", p.name, pr.stdout.String(), pr.stderr.String())
		}
	}
	return list
}

func startTshx(b *testing.B, u *upstream) subject {
	o := (&transport{cluster: u.config.Cluster, addr: u.addr, home: u.home, caFile: u.caFile}).options()
	o.env = append(o.env, "TELEPORT_TLS_ROUTING_CONN_UPGRADE=no")
	if extra := os.Getenv("TSHX_BENCH_ENV"); extra != "" { // to try settings of the Go runtime
		o.env = append(o.env, strings.Fields(extra)...)
	}
	p := launch(b, o, tshxPath, "proxy", "app", "echo")
	return subject{"tshx", p.lineAfter("address: "), p.cmd.Process.Pid}
}

// exportLogin writes the certificate and key of the app "echo" and the CA of
// the server the way other programs want them.
func (u *upstream) exportLogin(b *testing.B, dir string) (cert, ca string) {
	b.Helper()
	found := map[string][]byte{}
	check(b, filepath.WalkDir(u.home, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "echo") {
			return err
		}
		data, err := os.ReadFile(path)
		found[d.Name()] = data
		return err
	}))
	var both bytes.Buffer
	for _, data := range found {
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			pem.Encode(&both, block)
		}
	}
	if both.Len() == 0 {
		b.Fatalf("no certificate of the app in %s (layout %v)", u.home, profile.LayoutV17)
	}
	cert = filepath.Join(dir, "client.pem")
	check(b, os.WriteFile(cert, both.Bytes(), 0o600))
	return cert, u.caFile
}

const stunnelBench = `foreground = yes
debug = err
pid =
syslog = no
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[bench]
client = yes
accept = LISTEN
connect = CONNECT
cert = CERT
CAfile = CAFILE
verifyChain = yes
checkHost = localhost
sni = localhost
`

const haproxyBench = `global
	maxconn MAXCONN
defaults
	mode tcp
	timeout connect 5s
	timeout client 1h
	timeout server 1h
listen bench
	bind LISTEN
	server up CONNECT ssl crt CERT ca-file CAFILE verify required verifyhost localhost sni str(localhost) alpn teleport-tcp
`

// cpuOf is what a process has used so far, in user and system mode, in the
// kernel's ticks of 10 ms.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(b, err)
	// Field 2 is a name in parentheses; 14 and 15 are utime and stime (proc(5)).
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	check(b, err1)
	check(b, err2)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// residentOf is the resident memory of a process, in bytes.
func residentOf(b testing.TB, pid int) int64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(b, err)
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	var kib int64
	fmt.Sscanf(rest, "%d", &kib)
	return kib << 10
}

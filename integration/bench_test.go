//go:build linux

package integration

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tshx/integration/peer"
)

// The figures of these benchmarks are compared by people, never by a test.

// BenchmarkStart measures whole runs of a program: wall time and peak memory.
// true is what the machine itself costs.
func BenchmarkStart(b *testing.B) {
	for _, bb := range []struct {
		name string
		argv func(b *testing.B) (options, []string)
	}{
		{"true", func(b *testing.B) (options, []string) { return options{}, []string{"/bin/true"} }},
		{"version", func(b *testing.B) (options, []string) { return options{}, []string{tshxPath, "version"} }},
		{"ssh raw", func(b *testing.B) (options, []string) { return sshBench(b, "raw") }},
		{"ssh websocket", func(b *testing.B) (options, []string) { return sshBench(b, "websocket nginx") }},
		{"ssh legacy", func(b *testing.B) (options, []string) { return sshBench(b, "legacy nginx") }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			o, argv := bb.argv(b)
			var peak int64 // the first run may also have to test the proxy
			for range 5 {
				peak = max(peak, peakMemory(b, spawned(b, o, argv)))
			}
			b.ResetTimer()
			for b.Loop() {
				if err := spawned(b, o, argv).Wait(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(peak)/(1<<10), "MiB-peak")
		})
	}
}

// sshBench is one way to a node and its greeting, then the end.
func sshBench(b *testing.B, transport string) (options, []string) {
	need(b, "sshd")
	return transportNamed(b, transport).options(), []string{tshxPath, "proxy", "ssh", osUser() + "@node1:3022"}
}

func spawned(b *testing.B, o options, argv []string) *exec.Cmd {
	b.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(basicEnv(b), o.env...)
	if err := peer.Spawn(cmd); err != nil {
		b.Fatal(err)
	}
	return cmd
}

// peakMemory waits for cmd and returns the most memory, in KiB, that it was
// seen to have. getrusage(2) would tell the exact figure, but for a program
// smaller than this one it tells that of this one, from which it was forked.
func peakMemory(b *testing.B, cmd *exec.Cmd) (peak int64) {
	b.Helper()
	path := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	program, err := filepath.EvalSymlinks(cmd.Path)
	if err != nil {
		b.Fatal(err)
	}
	for {
		status, err := os.ReadFile(path)
		_, rest, found := strings.Cut(string(status), "VmHWM:")
		if err != nil || !found {
			break // ended
		}
		var kib int64
		fmt.Sscanf(rest, "%d", &kib)
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid)); err == nil && exe == program {
			peak = max(peak, kib)
		}
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return peak
}

// BenchmarkConnect measures a new connection through a running proxy, to the
// first byte of an answer.
func BenchmarkConnect(b *testing.B) {
	for _, tt := range transports {
		b.Run(tt.name, func(b *testing.B) {
			addr := tt.get(b).start(b, "proxy", "app", "echo").lineAfter("address: ")
			answer := make([]byte, 1)
			b.ResetTimer()
			for b.Loop() {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				c.Write(answer)
				if _, err := io.ReadFull(c, answer); err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
}

// BenchmarkThroughput measures one direction at a time; "none" is the service
// without tshx and without a cluster.
func BenchmarkThroughput(b *testing.B) {
	const size = 256 << 20
	for _, tt := range append([]named{{name: "none"}}, transports...) {
		for _, dir := range []struct {
			name     string
			up, down int64
		}{{"up", size, 0}, {"down", 0, size}} {
			b.Run(tt.name+"/"+dir.name, func(b *testing.B) {
				addr := services["fast"].get(b).addr
				if tt.shared != nil {
					addr = tt.get(b).start(b, "proxy", "app", "fast").lineAfter("address: ")
				}
				b.SetBytes(size)
				b.ResetTimer()
				for b.Loop() {
					c := dial(b, addr)
					if err := fast(c, dir.up, dir.down); err != nil {
						b.Fatal(err)
					}
					c.Close()
				}
			})
		}
	}
}

// fast moves bytes of no interest, in the conversation of bulk. Eight bytes at
// the end say that the server has come to the end as well.
func fast(c *net.TCPConn, up, down int64) error {
	if err := binary.Write(c, binary.BigEndian, down); err != nil {
		return err
	}
	if err := sendZeros(c, up); err != nil {
		return err
	}
	c.CloseWrite()
	got, err := drain(c)
	if err == nil && got != down+8 {
		err = fmt.Errorf("received %d bytes of %d", got, down+8)
	}
	return err
}

func serveFast(c *net.TCPConn) {
	var down int64
	if binary.Read(c, binary.BigEndian, &down) != nil || sendZeros(c, down) != nil {
		return
	}
	if n, err := drain(c); err == nil {
		binary.Write(c, binary.BigEndian, n)
	}
}

var zeros [256 << 10]byte

func sendZeros(c net.Conn, n int64) error {
	for n > 0 {
		w, err := c.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return err
		}
		n -= int64(w)
	}
	return nil
}

func drain(c net.Conn) (n int64, err error) {
	buf := make([]byte, 256<<10)
	for {
		r, err := c.Read(buf)
		n += int64(r)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

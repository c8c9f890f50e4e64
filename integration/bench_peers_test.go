//go:build linux

package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// BenchmarkPeers puts tshx beside stunnel and HAProxy, which do the same mutual
// TLS to the same server in the same run, and prints a table. Nothing in it
// passes or fails by a figure. It wants to be run once: -benchtime 1x.
func BenchmarkPeers(b *testing.B) {
	u := startUpstream(b)
	list := startSubjects(b, u)
	tab := &table{subjects: list}
	for _, part := range []struct {
		name string
		run  func(*testing.B, []subject, *table)
	}{
		{"rest", benchRest},
		{"echo", benchEcho},
		{"connect", benchConnect},
		{"throughput", benchThroughput},
		{"idle", benchIdle},
	} {
		b.Run(part.name, func(b *testing.B) { part.run(b, list, tab) })
	}
	tab.print()
}

// table collects one line per figure and one column per subject.
type table struct {
	subjects []subject
	lines    []string
}

func (t *table) add(what string, values []string) {
	t.lines = append(t.lines, what+"\t"+strings.Join(values, "\t"))
}

func (t *table) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\n\t")
	for _, s := range t.subjects {
		fmt.Fprintf(w, "%s\t", s.name)
	}
	fmt.Fprintln(w)
	for _, l := range t.lines {
		fmt.Fprintln(w, l+"\t")
	}
	w.Flush()
}

// each measures all subjects in turn, several times, so that what else the
// machine does hits all of them; it returns the median of each.
func each(b *testing.B, list []subject, rounds int, measure func(subject) float64) []float64 {
	b.Helper()
	all := make([][]float64, len(list))
	for range rounds {
		for i, s := range list {
			all[i] = append(all[i], measure(s))
		}
	}
	medians := make([]float64, len(list))
	for i, v := range all {
		slices.Sort(v)
		medians[i] = v[len(v)/2]
	}
	return medians
}

func format(form string, values []float64) (cells []string) {
	for _, v := range values {
		cells = append(cells, fmt.Sprintf(form, v))
	}
	return cells
}

func benchRest(b *testing.B, list []subject, tab *table) {
	rest := each(b, list, 1, func(s subject) float64 { return float64(residentOf(b, s.pid)) / (1 << 20) })
	tab.add("resident at rest, MiB", format("%.1f", rest))
}

func benchEcho(b *testing.B, list []subject, tab *table) {
	const trips = 3000
	p99 := make([]float64, len(list))
	p50 := each(b, list, 5, func(s subject) float64 {
		c, err := echoer(s.addr)
		check(b, err)
		defer c.Close()
		took := make([]time.Duration, trips)
		one := make([]byte, 1)
		for i := range took {
			start := time.Now()
			c.Write(one)
			if _, err := io.ReadFull(c, one); err != nil {
				b.Fatal(err)
			}
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		i := slices.Index(list, s)
		p99[i] = float64(took[trips*99/100].Nanoseconds()) / 1e3
		return float64(took[trips/2].Nanoseconds()) / 1e3
	})
	tab.add("echo of 1 byte, p50, µs", format("%.1f", p50))
	tab.add("echo of 1 byte, p99 of the last round, µs", format("%.1f", p99))
}

func benchConnect(b *testing.B, list []subject, tab *table) {
	for _, at := range []int{1, 8} {
		const conns = 600
		rate := each(b, list, 3, func(s subject) float64 {
			start := time.Now()
			parallel(b, at, conns, func() error {
				c, err := echoer(s.addr)
				if err == nil {
					c.Close()
				}
				return err
			})
			return conns / time.Since(start).Seconds()
		})
		tab.add(fmt.Sprintf("new connections a second, %d at a time", at), format("%.0f", rate))
	}
}

// parallel calls f n times from as many goroutines as at says.
func parallel(b *testing.B, at, n int, f func() error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range at {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

func benchThroughput(b *testing.B, list []subject, tab *table) {
	const size = 1 << 30
	for _, dir := range []struct {
		name string
		mode byte
	}{{"to the server", upSink}, {"to the client", upSource}} {
		cpu := make([][]float64, len(list))
		rate := each(b, list, 5, func(s subject) float64 {
			i := slices.Index(list, s)
			used, start := cpuOf(b, s.pid), time.Now()
			if err := transfer(s.addr, dir.mode, size); err != nil {
				b.Fatalf("%s: %v", s.name, err)
			}
			took := time.Since(start)
			cpu[i] = append(cpu[i], (cpuOf(b, s.pid) - used).Seconds())
			return size / took.Seconds() / 1e6
		})
		median := make([]float64, len(list))
		for i := range cpu {
			slices.Sort(cpu[i])
			median[i] = cpu[i][len(cpu[i])/2]
		}
		tab.add("throughput "+dir.name+", MB/s", format("%.0f", rate))
		tab.add("CPU of the program "+dir.name+", s/GiB", format("%.2f", median))
	}
}

func benchIdle(b *testing.B, list []subject, tab *table) {
	for _, n := range []int{1000, manyConns} {
		failed := make([]string, len(list))
		cost := each(b, list, 1, func(s subject) float64 {
			before := residentOf(b, s.pid)
			conns, errs := openIdle(s.addr, n)
			failed[slices.Index(list, s)] = fmt.Sprint(errs)
			time.Sleep(5 * time.Second) // what the memory settles to
			after := residentOf(b, s.pid)
			for _, c := range conns {
				c.Close()
			}
			time.Sleep(time.Second)
			return float64(after-before) / float64(max(1, len(conns))) / (1 << 10)
		})
		tab.add(fmt.Sprintf("%d idle connections, KiB resident each", n), format("%.1f", cost))
		tab.add(fmt.Sprintf("%d idle connections, failures", n), failed)
	}
}

// manyConns is 10,000, or what the limit of descriptors leaves: a proxy needs
// two for each.
var manyConns = func() int {
	var fds syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &fds); err != nil {
		return 1000
	}
	return int(min(10_000, (fds.Max-100)/2))
}()

// openIdle opens n connections that have each echoed one byte.
func openIdle(addr string, n int) (conns []net.Conn, failures int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	left := atomic.Int64{}
	left.Store(int64(n))
	for range 16 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				c, err := echoer(addr)
				mu.Lock()
				if err != nil {
					failures++
				} else {
					conns = append(conns, c)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return conns, failures
}

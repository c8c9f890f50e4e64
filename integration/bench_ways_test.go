//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkWays puts the ways to the proxy beside each other, with a service
// behind the lab in place of the neutral server of BenchmarkPeers, which knows
// no upgrades, and prints a table. It wants to be run once: -benchtime 1x.
func BenchmarkWays(b *testing.B) {
	const size = 256 << 20
	tab := &table{}
	var list []subject
	for _, way := range []struct {
		name, transport string
		env             []string
	}{
		{"raw", "raw", nil},
		{"websocket", "raw", []string{"TELEPORT_TLS_ROUTING_CONN_UPGRADE=yes"}},
		{"legacy", "raw", []string{"TELEPORT_TLS_ROUTING_CONN_UPGRADE=yes", "TELEPORT_TLS_ROUTING_CONN_UPGRADE_MODE=legacy"}},
		{"websocket nginx", "websocket nginx", nil},
		{"legacy nginx", "legacy nginx", nil},
		{"websocket haproxy", "websocket haproxy", nil},
	} {
		o := transportNamed(b, way.transport).options()
		o.env = append(o.env, way.env...)
		p := launch(b, o, tshxPath, "proxy", "app", "fast")
		list = append(list, subject{way.name, p.lineAfter("address: "), p.cmd.Process.Pid})
	}
	tab.subjects = list
	for _, dir := range []struct {
		name     string
		up, down int64
	}{{"to the server", size, 0}, {"to the client", 0, size}} {
		cpu := make([][]float64, len(list))
		rate := each(b, list, 5, func(s subject) float64 {
			i := slices.Index(list, s)
			c := dial(b, s.addr)
			defer c.Close()
			used, start := cpuOf(b, s.pid), time.Now()
			if err := fast(c, dir.up, dir.down); err != nil {
				b.Fatalf("%s: %v", s.name, err)
			}
			took := time.Since(start)
			cpu[i] = append(cpu[i], (cpuOf(b, s.pid)-used).Seconds()*(1<<30)/size)
			return size / took.Seconds() / 1e6
		})
		ratio, median := make([]float64, len(list)), make([]float64, len(list))
		for i := range list {
			ratio[i] = rate[i] / rate[0]
			slices.Sort(cpu[i])
			median[i] = cpu[i][len(cpu[i])/2]
		}
		tab.add("throughput "+dir.name+", MB/s", format("%.0f", rate))
		tab.add("of raw", format("%.2f", ratio))
		tab.add("CPU of tshx "+dir.name+", s/GiB", format("%.2f", median))
	}
	tab.print()
}

// BenchmarkSSH runs `tshx proxy ssh` to the node's greeting, alone and twenty at
// once, and prints a table. It wants to be run once: -benchtime 1x.
func BenchmarkSSH(b *testing.B) {
	tab := &table{subjects: []subject{{name: "wall, s"}, {name: "CPU, s"}, {name: "RSS sum, MiB"}, {name: "PSS sum, MiB"}}}
	o, argv := sshBench(b, "raw")
	spawned(b, o, argv).Wait() // tests the way
	for _, n := range []int{1, 20} {
		var rounds [4][]float64
		for range 5 {
			r := sshAtOnce(b, o, argv, n)
			for i, v := range []float64{r.wall.Seconds(), r.cpu.Seconds(), float64(r.rss) / (1 << 10), float64(r.pss) / (1 << 10)} {
				rounds[i] = append(rounds[i], v)
			}
		}
		var cells []string
		for i, form := range []string{"%.3f", "%.3f", "%.0f", "%.0f"} {
			slices.Sort(rounds[i])
			cells = append(cells, fmt.Sprintf(form, rounds[i][2]))
		}
		tab.add(fmt.Sprintf("proxy ssh, %d at once", n), cells)
	}
	tab.print()
}

// sshCost is what several runs of a program cost together.
type sshCost struct {
	wall, cpu time.Duration
	rss, pss  int64 // the most that was seen at one time, in KiB
}

func sshAtOnce(b *testing.B, o options, argv []string, n int) (cost sshCost) {
	var list []*exec.Cmd
	start := time.Now()
	for range n {
		list = append(list, spawned(b, o, argv))
	}
	watch, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			rss, pss := int64(0), int64(0)
			for _, cmd := range list {
				r, p := sharedMemory(cmd.Process.Pid)
				rss, pss = rss+r, pss+p
			}
			cost.rss, cost.pss = max(cost.rss, rss), max(cost.pss, pss)
			select {
			case <-watch:
				return
			default:
			}
		}
	}()
	for _, cmd := range list {
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
		cost.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	cost.wall = time.Since(start)
	close(watch)
	<-done
	return cost
}

// sharedMemory returns what a process has in memory, in KiB: all of it, and with
// what it shares with others split among them. Both are 0 of an ended one, and
// of one that is not yet the program (then it is this one).
func sharedMemory(pid int) (rss, pss int64) {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil || exe != tshxPath {
		return 0, 0
	}
	for line := range strings.Lines(string(data)) {
		fmt.Sscanf(line, "Rss: %d", &rss)
		fmt.Sscanf(line, "Pss: %d", &pss)
	}
	return rss, pss
}

//go:build linux

package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"tshx/internal/lab"
)

// The figures of these benchmarks are compared by people, never by a test.

// kubeWays are what benchmarks of Kubernetes compare: the API server itself, and
// a proxy in front of it on some ways.
var kubeWays = []string{"direct", "raw", "websocket nginx", "legacy nginx"}

func kubeBench(b *testing.B, way string) kubeSession {
	b.Helper()
	if way == "direct" {
		return kubeDirect(b)
	}
	s, _ := kubeProxy(b, kubeTransport(b, way), kubeDemo)
	return s
}

// httpClient speaks to the current cluster of a kubeconfig over connections of
// its own.
func httpClient(b testing.TB, kubeconfig string) (client *http.Client, server string) {
	b.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	check(b, err)
	secured, err := rest.TLSConfigFor(config)
	check(b, err)
	transport := &http.Transport{Proxy: config.Proxy, TLSClientConfig: secured, ForceAttemptHTTP2: true}
	b.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, config.Host
}

// BenchmarkKubeRequest measures one request on a connection that is there.
func BenchmarkKubeRequest(b *testing.B) {
	for _, way := range kubeWays {
		b.Run(way, func(b *testing.B) {
			client, server := httpClient(b, kubeBench(b, way).config)
			get := func() {
				resp, err := client.Get(server + "/api/v1/namespaces/default")
				check(b, err)
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatalf("%s %q, %v", resp.Status, text, err)
				}
			}
			for range 5 {
				get()
			}
			var took []time.Duration
			b.ResetTimer()
			for b.Loop() {
				start := time.Now()
				get()
				took = append(took, time.Since(start))
			}
			reportTimes(b, took)
		})
	}
}

// reportTimes reports the median of what single runs took, and how long the slow
// ones did.
func reportTimes(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	for _, percent := range []int{50, 95} {
		b.ReportMetric(float64(took[len(took)*percent/100].Microseconds())/1e3, fmt.Sprintf("ms-p%d", percent))
	}
}

// BenchmarkKubectlGet measures whole runs of kubectl, which have connections of
// their own to a proxy that is warm.
func BenchmarkKubectlGet(b *testing.B) {
	for _, way := range kubeWays {
		b.Run(way, func(b *testing.B) {
			s := kubeBench(b, way)
			benchRuns(b, s.options(b), kubernetes.get(b).Kubectl, "get", "namespaces")
		})
	}
}

// BenchmarkKubectlStart measures what tshx adds to kubectl where it only hands
// over to it, and how long kubectl waits for a certificate.
func BenchmarkKubectlStart(b *testing.B) {
	k := kubernetes.get(b)
	tr, err := kubeModern.get(b).login(at("localhost", kubeModern.get(b).direct), lab.HomeOptions{})
	check(b, err)
	o := (kubeSession{transport: tr, config: b.TempDir() + "/config"}).options(b)
	execute(b, o, tshxPath, "kube", "login", kubeDemo)
	for _, bb := range []struct{ name, program, args string }{
		{"kubectl version", k.Kubectl, "version --client"},
		{"tshx kubectl version", tshxPath, "kubectl version --client"},
		{"kubectl get", k.Kubectl, "get namespaces"},
		{"tshx kubectl get", tshxPath, "kubectl get namespaces"},
		{"tshx kube credentials", tshxPath, "kube credentials --kube-cluster=" + kubeDemo + " --teleport-cluster=" + tr.cluster},
	} {
		b.Run(bb.name, func(b *testing.B) {
			benchRuns(b, o, append([]string{bb.program}, strings.Fields(bb.args)...)...)
		})
	}
}

// benchRuns measures runs of a program.
func benchRuns(b *testing.B, o options, argv ...string) {
	b.Helper()
	run := func() { check(b, spawned(b, o, argv).Wait()) }
	run() // fills caches
	var took []time.Duration
	b.ResetTimer()
	for b.Loop() {
		start := time.Now()
		run()
		took = append(took, time.Since(start))
	}
	reportTimes(b, took)
}

// BenchmarkKubeWatches measures the memory of a proxy with many watches, each of
// which has a connection of its own, as those of so many kubectl have. It wants
// to be run once: -benchtime 1x.
func BenchmarkKubeWatches(b *testing.B) {
	const many = 100
	for _, way := range kubeWays[1:] {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				s, p := kubeProxy(b, kubeTransport(b, way), kubeDemo)
				before := residentOf(b, p.cmd.Process.Pid)
				streams := make(chan io.Closer, many)
				parallel(b, many, many, func() error {
					client, server := httpClient(b, s.config)
					resp, err := client.Get(server + "/api/v1/namespaces?watch=true")
					if err != nil {
						return err
					}
					streams <- resp.Body
					_, err = bufio.NewReader(resp.Body).ReadString('\n')
					return err
				})
				b.ReportMetric(float64(before)/(1<<20), "MiB-before")
				b.ReportMetric(float64(residentOf(b, p.cmd.Process.Pid))/(1<<20), "MiB")
				for range many {
					(<-streams).Close()
				}
			}
		})
	}
}

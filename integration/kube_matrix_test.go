//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// kubeCarrier is something of kubectl's that must work on every transport.
type kubeCarrier struct {
	name string
	run  func(t *testing.T, s kubeSession)
}

var kubeCarriers = []kubeCarrier{
	{"version", kubeVersion},
	{"get", kubeGet},
	{"apply and watch", kubeWatch},
	{"logs", kubeLogs},
	{"attach", kubeAttach},
	{"cp", func(t *testing.T, s kubeSession) { kubeCopies(t, s, 64<<20) }},
}

// kubeStreamCarriers work by two protocols, of which older clients have only the
// first.
var kubeStreamCarriers = []kubeCarrier{
	{"exec", kubeExec},
	{"exec failure", kubeExecFailure},
	{"terminal", kubeTerminal},
	{"short cp", func(t *testing.T, s kubeSession) { kubeCopies(t, s, 4<<20) }},
	{"port-forward", kubeForward},
}

// kubeProtocols are what makes kubectl stream by one protocol or the other.
var kubeProtocols = []struct {
	name string
	env  []string
}{
	{"spdy", []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"}},
	{"websocket", []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true", "KUBECTL_PORT_FORWARD_WEBSOCKETS=true"}},
}

// TestKubeMatrix has kubectl do all that people do with it on every transport,
// through one running proxy each.
func TestKubeMatrix(t *testing.T) {
	for _, tt := range kubeTransports {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			tr := tt.get(t)
			s, _ := kubeProxy(t, tr, kubeDemo)
			t.Run("as others", func(t *testing.T) {
				t.Parallel()
				kubeImpersonates(t, tr)
			})
			kubeCarry(t, s)
			t.Run("way", func(t *testing.T) {
				t.Parallel()
				s.run(t, "get", "ns")
				tookWay(t, tr, tt.way)
			})
		})
	}
}

// TestKubeMatrixItself: what the matrix asks for works without tshx, so that a
// failure is not one of kubectl, the API server or the node.
func TestKubeMatrixItself(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	kubeCarry(t, kubeDirect(t))
}

// kubeCarry runs all carriers.
func kubeCarry(t *testing.T, s kubeSession) {
	for _, c := range kubeCarriers {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, s)
		})
	}
	for _, p := range kubeProtocols {
		for _, c := range kubeStreamCarriers {
			t.Run(c.name+" "+p.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, s.with(p.env...))
			})
		}
	}
}

// tookWay checks by which way tshx reached the proxy of a login last.
func tookWay(t testing.TB, tr *transport, want string) {
	t.Helper()
	var status struct {
		Active struct{ Transport struct{ Way, Method string } }
	}
	check(t, json.Unmarshal([]byte(execute(t, tr.options(), tshxPath, "status", "--format", "json")), &status))
	got := status.Active.Transport
	if want == "raw" && got.Way != "raw" || want != "raw" && (got.Way != "upgrade" || got.Method != want) {
		t.Errorf("took %+v, want %s", got, want)
	}
}

// kubeVersion: the API server says its own, which kubectl compares.
func kubeVersion(t *testing.T, s kubeSession) {
	var v struct {
		ClientVersion, ServerVersion struct{ GitVersion string }
	}
	check(t, json.Unmarshal([]byte(s.run(t, "version", "-o", "json")), &v))
	if v.ServerVersion.GitVersion == "" || v.ServerVersion != v.ClientVersion {
		t.Errorf("got %+v", v)
	}
}

func kubeGet(t *testing.T, s kubeSession) {
	if got := s.run(t, "get", "ns", "-o", "name"); !slices.Contains(lines(got), "namespace/default") {
		t.Errorf("got %q", got)
	}
	pod := kubernetes.get(t).Pod
	if got := s.run(t, "get", "pod", pod, "-o", "jsonpath={.status.phase}"); got != "Running" {
		t.Errorf("got %q", got)
	}
	// What is not there is the API server's answer, not ours.
	p := s.start(t, "get", "configmap", "nosuch")
	if code := p.wait(); code != 1 || !strings.Contains(p.stderr.String(), `configmaps "nosuch" not found`) {
		t.Errorf("exit code %d, said %q", code, p.stderr.String())
	}
}

// configMap is one with a word in it.
func configMap(name, word string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}, data: {word: %s}}\n", name, word)
}

// kubeWatch: what is applied later arrives at who watches already.
func kubeWatch(t *testing.T, s kubeSession) {
	name := objectName(t)
	s.fed(t, configMap(name, "first"), "apply", "-f", "-")
	watch := s.start(t, "get", "configmap", name, "--watch", "-o", `jsonpath={.data.word}{"\n"}`)
	watch.sees("first") // from here on there are events only
	for _, word := range []string{"second", "third"} {
		s.fed(t, configMap(name, word), "apply", "-f", "-")
		watch.sees(word)
	}
	s.run(t, "delete", "configmap", name)
	if watch.ended() {
		t.Errorf("the watch has ended: %s", watch.stderr.String())
	}
}

// kubeImpersonates: the user that tshx asks for is whom the API server sees.
func kubeImpersonates(t *testing.T, tr *transport) {
	for _, tt := range []struct {
		flags  string
		user   string
		groups []string
	}{
		{"", account.User, []string{"system:authenticated", "system:masters"}},
		{"--as bob --as-groups dev,ops", "bob", []string{"dev", "ops", "system:authenticated"}},
		{"--as bob --as-groups dev --as-groups ops", "bob", []string{"dev", "ops", "system:authenticated"}},
	} {
		argv := append([]string{tshxPath, "proxy", "kube", kubeDemo}, strings.Fields(tt.flags)...)
		argv = append(argv, "--", kubernetes.get(t).Kubectl, "auth", "whoami", "-o", "json")
		got := whoami(t, execute(t, tr.options(), argv...))
		slices.Sort(got.Groups)
		if got.Username != tt.user || !slices.Equal(got.Groups, tt.groups) {
			t.Errorf("with %q: %+v", tt.flags, got)
		}
	}
}

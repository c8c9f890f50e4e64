package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layer is a package's place in the order and what it may import of ours.
type layer struct {
	level int
	may   []string // names below internal/
}

// What a package may import where a list would say less.
var (
	anything = []string{"*"} // all packages of lower levels
	nothing  []string
)

// levelTest is the level of what never gets into the shipped program.
const levelTest = 6

// layers is the table of ARCHITECTURE.md, for imports outside of tests.
var layers = map[string]layer{
	"internal/plain":      {0, nothing},
	"internal/trust":      {0, nothing},
	"internal/kubeconfig": {0, nothing},
	"internal/conn":       {0, nothing},
	"internal/localca":    {0, nothing},
	"internal/identity":   {0, nothing},
	"internal/sockets":    {0, nothing},
	"internal/child":      {0, nothing},
	"internal/event":      {0, nothing},
	"internal/ready":      {0, nothing},

	"internal/program": {1, []string{"plain"}},
	"internal/profile": {1, []string{"identity", "plain"}},
	"internal/accept":  {1, []string{"conn"}},
	"internal/egress":  {1, []string{"conn", "plain", "trust"}},
	"internal/upgrade": {1, []string{"conn", "plain", "trust"}},

	"internal/httpserve": {2, []string{"accept", "conn"}},
	"internal/tlsroute":  {2, []string{"upgrade", "conn", "identity", "trust"}},
	"internal/survey":    {2, []string{"upgrade", "plain", "trust"}},

	"internal/httproute":  {3, []string{"tlsroute", "upgrade", "conn"}},
	"internal/localproxy": {3, []string{"accept", "conn", "sockets"}},

	"internal/appproxy":   {4, []string{"httproute", "httpserve", "localproxy", "tlsroute", "conn"}},
	"internal/dbproxy":    {4, []string{"tlsroute", "conn", "identity"}},
	"internal/cloudproxy": {4, []string{"httproute", "httpserve", "localca", "localproxy", "tlsroute", "conn", "plain"}},
	"internal/kubeproxy":  {4, []string{"httproute", "httpserve", "localca", "localproxy", "tlsroute", "conn"}},
	"internal/sshproxy":   {4, []string{"conn", "plain"}},

	"cmd/tshx": {5, anything},

	"internal/proxyserver":   {levelTest + 1, []string{"tlsroute", "upgrade", "accept", "conn", "identity", "plain", "reversetunnel", "webportal"}},
	"internal/webportal":     {levelTest, []string{"identity"}},
	"internal/reversetunnel": {levelTest, []string{"tlsroute", "conn", "plain"}},
	"internal/balancer":      {levelTest, anything},
	"internal/lab":           {levelTest + 2, anything},
	"cmd/tshx-lab":           {levelTest + 3, anything},
	"integration":            {levelTest + 3, anything},
	"integration/peer":       {levelTest, nothing},
}

// allows reports whether the package l may import other.
func (l layer) allows(other string) bool {
	o, known := layers[other]
	name, internal := strings.CutPrefix(other, "internal/")
	return known && o.level < l.level && (internal && slices.Contains(l.may, name) || slices.Equal(l.may, anything))
}

// TestLayers holds the packages of the module against the table: imports point
// down, and only where the table says so. What is for tests is above the
// shipped program, so that it cannot get into it.
func TestLayers(t *testing.T) {
	const module = "tshx/"
	found := map[string]bool{}
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		found[name] = true
		l, known := layers[name]
		if !known {
			t.Errorf("%s is not in the table of layers", name)
			continue
		}
		for _, imp := range p.Imports {
			if own, ok := strings.CutPrefix(imp, module); ok && !l.allows(own) {
				t.Errorf("%s must not import %s", name, own)
			}
		}
	}
	for name, l := range layers {
		if !found[name] {
			t.Errorf("%s is in the table of layers but not there", name)
		}
		for _, other := range l.may {
			if other != anything[0] && !l.allows("internal/"+other) {
				t.Errorf("the table lets %s import %s, which is not below it", name, other)
			}
		}
	}
}

// TestMap: the map for people says the same.
func TestMap(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := maps.Clone(layers)
	delete(missing, "integration/peer") // a part of integration
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.Contains(cells[2], "`") {
			continue
		}
		for _, cell := range strings.Split(cells[2], ",") {
			name := strings.Trim(cell, " `")
			l, known := layers[name]
			if !known {
				t.Errorf("the map has %s, which is not there", name)
			}
			delete(missing, name)
			if got, want := strings.TrimSpace(cells[1]), l.String(); got != want {
				t.Errorf("the map has %s on level %s, want %s", name, got, want)
			}
			if may := mayOf(cells[4]); !slices.Equal(may, slices.Sorted(slices.Values(l.may))) {
				t.Errorf("the map lets %s import %v, want %v", name, may, l.may)
			}
		}
	}
	for name := range missing {
		t.Errorf("the map lacks %s", name)
	}
}

// mayOf reads the last column of the map.
func mayOf(cell string) []string {
	switch cell = strings.TrimSpace(cell); cell {
	case "nothing of ours":
		return nothing
	case "all above", "anything", "proxyserver and below":
		return anything
	}
	return slices.Sorted(slices.Values(strings.Split(cell, ", ")))
}

// String is the level as the map writes it.
func (l layer) String() string {
	if l.level >= levelTest {
		return "T"
	}
	return strconv.Itoa(l.level)
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "tshx/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages only", len(all))
	}
	return all
}

//go:build linux

package integration

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// azOptions are those of programs that run az: it starts one that outlives it,
// which tells its makers about that.
func azOptions(tr *transport) options {
	o := tr.options()
	o.env = append(o.env, "AZURE_CORE_COLLECT_TELEMETRY=0", "AZURE_CORE_NO_COLOR=1")
	return o
}

// azureRun runs tshx, which must succeed without a word of its own.
func azureRun(t testing.TB, tr *transport, args ...string) string {
	t.Helper()
	p := launch(t, azOptions(tr), append([]string{tshxPath}, args...)...)
	if code := p.wait(); code != 0 || strings.Contains(withoutWaits(p.stderr.String()), "tshx: ") {
		t.Fatalf("tshx %s: exit code %d: %s", strings.Join(args, " "), code, clip(p.stderr.String()))
	}
	return p.stdout.String()
}

// TestAzureCLI: the real az signs in and makes a request on every way to the
// proxy, in each of the ways to run it. It takes seconds of CPU to start, so each
// does little.
func TestAzureCLI(t *testing.T) {
	need(t, "az")
	for i, run := range []func(t *testing.T, tr *transport, stand *azureStand){azWrapped, azInOwnShell, azInExec, azInCommand} {
		t.Run(azureWays[i].name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			run(t, azureWays[i].get(t), standOfAzure.get(t))
		})
	}
}

// azWrapped: tshx az, and what it says when the access proxy refuses. Of an answer
// to HEAD az shows no more than a number.
func azWrapped(t *testing.T, tr *transport, stand *azureStand) {
	if got := azureRun(t, tr, "az", "login"); !strings.Contains(got, azureSubscription) {
		t.Errorf("az login: %s", got)
	}
	file := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(file)
	check(t, err)
	_, err = io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{byte(rand.Uint32()), 3}), 8<<20))
	check(t, err)
	check(t, f.Close())
	azureRun(t, tr, "az", "storage", "blob", "upload", "--auth-mode", "login", "--account-name", "account", "-c", "c", "-n", "b", "-f", file, "--no-progress")
	r, sum := stand.of(t, "account.blob.core.windows.net/c/b")
	verifyToken(t, tr, r)
	if sum != sumOf(t, file) {
		t.Error("what was uploaded is another")
	}
	for _, tt := range []struct {
		says string // by az
		ours int    // lines
		args []string
	}{
		{azureRefusal, 0, []string{"rest", "--resource", "https://vault.azure.net", "--url", "https://refused.vault.azure.net/secrets/x?api-version=7.3"}},
		{"AuthorizationFailed", 1, []string{"storage", "blob", "exists", "--auth-mode", "login", "--account-name", "refused", "-c", "c", "-n", "b"}},
	} {
		p := launch(t, azOptions(tr), append([]string{tshxPath, "az"}, tt.args...)...)
		code, said := p.wait(), withoutWaits(p.stderr.String())
		if code == 0 || !strings.Contains(strings.ReplaceAll(said, `\`, ""), tt.says) || strings.Count(said, `tshx: connection to Azure app "`+azureApp+`" failed: `) != tt.ours {
			t.Errorf("az %s: exit code %d: %s", tt.args[0], code, said)
		}
		if tt.ours == 1 && !strings.Contains(said, azureRefusal) {
			t.Errorf("az %s is not told why: %s", tt.args[0], said)
		}
	}
}

// azInOwnShell: a shell that takes the environment as it is printed, and goes on
// with it after the certificate has ended.
func azInOwnShell(t *testing.T, tr *transport, stand *azureStand) {
	c := azureModern.get(t)
	own, err := c.login(tr.addr, lab.HomeOptions{})
	check(t, err)
	own.env = tr.env
	p := launch(t, own.options(), tshxPath, "proxy", "azure", "--format", "unix")
	p.lineAfter("export https_proxy=") // the last
	shell := func(script string) *program {
		s := launch(t, azOptions(own), "sh", "-c", `eval "$0"; `+script, p.stdout.String())
		s.wait()
		return s
	}
	s := shell(`az login --identity --query '[].name' -o tsv && az rest --method put --url https://management.azure.com/own-shell --body '{"a":1}'`)
	if got := s.stdout.String(); s.cmd.ProcessState.ExitCode() != 0 || !strings.HasPrefix(got, "stand\n") || !strings.Contains(got, "true") {
		t.Errorf("exit code %d, got %s", s.cmd.ProcessState.ExitCode(), got)
	}
	r, sum := stand.of(t, "management.azure.com/own-shell")
	verifyToken(t, own, r)
	if r.Method != "PUT" || sum != fmt.Sprintf("%x", sha256.Sum256([]byte(`{"a": 1}`))) {
		t.Errorf("got %s, sum %s", r.Method, sum)
	}
	check(t, c.lab.WriteHome(own.home, own.addr, lab.HomeOptions{TTL: -time.Hour, FreshKey: true}))
	s = shell(`az group list`)
	if said := s.stderr.String(); s.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(said, "certificate expired") || !strings.Contains(said, "tsh apps login") {
		t.Errorf("exit code %d of az with a certificate that has ended: %s", s.cmd.ProcessState.ExitCode(), said)
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	oneLine(t, strings.Join(says(p), "\n"), `connection to Azure app "`+azureApp+`" failed: .*expired .* ago.*tsh apps login`)
}

// azInExec: a program that --exec starts.
func azInExec(t *testing.T, tr *transport, stand *azureStand) {
	script := filepath.Join(t.TempDir(), "script")
	check(t, os.WriteFile(script, []byte("#!/bin/sh\naz login --identity --query '[].name' -o tsv && az group list --query '[].name' -o tsv\n"), 0o700))
	if got := azureRun(t, tr, "proxy", "azure", "--exec", script); got != "stand\ngroup-1\n" {
		t.Errorf("got %q", got)
	}
	r, _ := stand.of(t, "management.azure.com/subscriptions/"+azureSubscription+"/resourcegroups")
	verifyToken(t, tr, r)
}

// azInCommand: a command behind --, and the secret of a key vault.
func azInCommand(t *testing.T, tr *transport, stand *azureStand) {
	const script = `az login --identity --query '[].name' -o tsv && az rest --resource https://vault.azure.net --url 'https://v.vault.azure.net/secrets/x?api-version=7.3' --query value -o tsv`
	if got := azureRun(t, tr, "proxy", "az", "--", "sh", "-c", script); got != "stand\na secret\n" {
		t.Errorf("got %q", got)
	}
	r, _ := stand.of(t, "v.vault.azure.net/secrets/x")
	verifyToken(t, tr, r)
}

// azureLibraries is what Azure's libraries for Python do: they know the newer
// endpoint alone, as newer az does, and ask a key vault first what it wants.
const azureLibraries = `
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
import sys
for config in None, {"mi_res_id": sys.argv[1]}:
    print(SecretClient("https://v.vault.azure.net", ManagedIdentityCredential(identity_config=config)).get_secret("libraries").value)
`

// TestAzureLibraries: Azure's libraries, which are az's own.
func TestAzureLibraries(t *testing.T) {
	need(t, "az")
	python := "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import azure.identity, azure.keyvault.secrets").Run(); err != nil {
		// An az from elsewhere has its libraries for itself.
		check(t, &peer.MissingError{Program: "azure-identity of " + python, Package: "azure-cli"})
	}
	nothingLeft(t)
	tr := azureWays[0].get(t)
	got := azureRun(t, tr, "proxy", "azure", "--", "env", "-u", "MSI_ENDPOINT", python, "-c", azureLibraries, azureIdentity)
	if got != "a secret\na secret\n" {
		t.Errorf("got %q", got)
	}
	r, _ := standOfAzure.get(t).of(t, "v.vault.azure.net/secrets/libraries/")
	verifyToken(t, tr, r)
}

//go:build linux

package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// awsLogin is a login of one test, at an address.
func awsLogin(t testing.TB, addr string, o lab.HomeOptions) *transport {
	t.Helper()
	tr, err := awsModern.get(t).login(addr, o)
	check(t, err)
	return tr
}

// TestAWSRelogin: programs are told what has expired and how to renew it, and it
// works again after that, without a restart.
func TestAWSRelogin(t *testing.T) {
	need(t, "aws")
	nothingLeft(t)
	c := awsModern.get(t)
	tr := awsLogin(t, at("localhost", c.direct), lab.HomeOptions{})
	o := awsOptions(tr)
	var end *os.File
	o.stdin, end = pipe(t)
	// It complains on standard error, so this is not startAWSProxy.
	const script = `while read -r _; do aws sts get-caller-identity --query Arn --output text; echo "code: $?"; done`
	p := launch(t, o, tshxPath, "proxy", "aws", "--app", awsMain, "--", "sh", "-c", script)
	asked := 0
	ask := func() string {
		asked++
		fmt.Fprintln(end)
		if !eventually(patience, func() bool { return strings.Count(p.stdout.String(), "code: ") == asked || p.ended() }) {
			t.Fatal("no answer")
		}
		_, code, _ := strings.Cut(p.stdout.String()[strings.LastIndex(p.stdout.String(), "code: "):], " ")
		return strings.TrimSpace(code)
	}
	if got := ask(); got != "0" || !strings.Contains(p.stdout.String(), awsARN[awsMain]) {
		t.Fatalf("exit code %s: %s", got, p.stdout.String())
	}
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{TTL: -time.Hour}))
	if got := ask(); got == "0" || !strings.Contains(p.stderr.String(), "expired") || !strings.Contains(p.stderr.String(), "tsh apps login "+awsMain) {
		t.Errorf("exit code %s: %s", got, p.stderr.String())
	}
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{}))
	if got := ask(); got != "0" {
		t.Errorf("exit code %s: %s", got, p.stderr.String())
	}
	end.Close()
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// Before anything is started, it is one line.
	tr = awsLogin(t, at("localhost", c.direct), lab.HomeOptions{TTL: -time.Hour})
	p = awsCLI(t, tr, "--app", awsMain, "s3", "ls")
	if code := p.wait(); code != codeLogin {
		t.Errorf("exit code %d, want %d", code, codeLogin)
	}
	oneLine(t, p.stderr.String(), "expired.*tsh apps login "+awsMain)
}

// TestAWSProxyDown: what the AWS CLI prints says that the access proxy is not
// there, and the next call works once it is.
func TestAWSProxyDown(t *testing.T) {
	need(t, "aws")
	nothingLeft(t)
	board := newSwitchboard(t, awsModern.get(t).direct)
	tr := awsLogin(t, at("localhost", board.addr), lab.HomeOptions{})
	awsSays(t, tr, "--app", awsMain, "sts", "get-caller-identity")
	_, port, _ := net.SplitHostPort(nobody)
	board.to(net.JoinHostPort("127.0.0.1", port))
	p := awsCLI(t, tr, "--app", awsMain, "sts", "get-caller-identity")
	if code := p.wait(); code != 254 || !strings.Contains(p.stderr.String(), "GetCallerIdentity operation") {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
	board.to(awsModern.get(t).direct)
	awsSays(t, tr, "--app", awsMain, "sts", "get-caller-identity")
}

// TestAWSEnds: signals are those of aws, the exit code is too, and nothing stays.
func TestAWSEnds(t *testing.T) {
	need(t, "aws")
	for _, tt := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, codeInterrupted}, {syscall.SIGTERM, 128 + 15}, {syscall.SIGHUP, 128 + 1}} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			tr := awsLogin(t, at("localhost", awsModern.get(t).direct), lab.HomeOptions{})
			o := awsOptions(tr)
			tmp, key := t.TempDir(), awsPath(t)
			o.env = append(o.env, "TMPDIR="+tmp)
			p := launch(t, o, tshxPath, "aws", "--app", awsMain, "s3api", "wait", "object-exists", "--bucket", awsBucket, "--key", key)
			if !eventually(patience, func() bool { return strings.Contains(amazon.get(t).Log(), key) || p.ended() }) || p.ended() {
				t.Fatal("aws has asked for nothing")
			}
			p.signal(tt.signal)
			if code := p.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			noFiles(t, tmp)
		})
	}
	t.Run("command", func(t *testing.T) {
		nothingLeft(t)
		tr := awsTransports[0].get(t)
		p := launch(t, awsOptions(tr), tshxPath, "proxy", "aws", "--app", awsMain, "--", "sh", "-c", "exit 7")
		if code := p.wait(); code != 7 || p.stderr.String() != "" {
			t.Errorf("exit code %d: %s", code, p.stderr.String())
		}
	})
}

// noFiles fails the test if a key or certificate is left below a directory.
func noFiles(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Base(path) != "ways.json" {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestAWSSecrets: keys are in the environment of programs and in files of their
// own, and nowhere else.
func TestAWSSecrets(t *testing.T) {
	need(t, "aws", "curl")
	nothingLeft(t)
	tr := awsLogin(t, at("localhost", awsModern.get(t).direct), lab.HomeOptions{})
	o := awsOptions(tr)
	tmp := t.TempDir()
	o.env = append(o.env, "TMPDIR="+tmp)
	var end *os.File
	o.stdin, end = pipe(t)
	const script = `env | grep -iE '^(AWS_|HTTPS?_PROXY)'; echo "all: there"; exec cat`
	run := launch(t, o, tshxPath, "--debug", "proxy", "aws", "--app", awsMain, "--app", awsOther, "--", "sh", "-c", script)
	run.lineAfter("all: ")
	p := &awsProxy{program: run, env: map[string]string{}}
	for _, l := range lines(run.stdout.String()) {
		if k, v, ok := strings.Cut(l, "="); ok {
			p.env[k] = v
		}
	}
	var secrets []string
	config, err1 := os.ReadFile(p.env["AWS_CONFIG_FILE"])
	shared, err2 := os.ReadFile(p.env["AWS_SHARED_CREDENTIALS_FILE"])
	check(t, errors.Join(err1, err2))
	for _, l := range lines(string(config) + "\n" + string(shared)) {
		if _, secret, ok := strings.Cut(l, "aws_secret_access_key"); ok {
			secrets = append(secrets, strings.Trim(secret, " =\""))
		}
	}
	if len(secrets) < 2 {
		t.Fatalf("%d secrets found", len(secrets))
	}
	keys := p.credentials()
	if p.env["AWS_ACCESS_KEY_ID"] == "" {
		keys = profileKeys(t, string(config)+"\n"+string(shared), awsMain)
	}
	role, err := p.sts(t, keys).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + peer.AWSAccount + ":role/reader"), RoleSessionName: aws.String("alice")})
	check(t, err)
	secrets = append(secrets, *role.Credentials.SecretAccessKey, *role.Credentials.SessionToken)
	get, err := s3.NewPresignClient(p.s3(t, keys)).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(awsBucket), Key: aws.String("none")})
	check(t, err)
	_, signature, _ := strings.Cut(get.URL, "X-Amz-Signature=")
	secrets = append(secrets, signature)
	wrong := strings.Replace(get.URL, "X-Amz-Signature=", "X-Amz-Signature=0", 1)
	for _, url := range []string{get.URL, wrong} {
		args := []string{"-sS", "--proxy", p.env["HTTPS_PROXY"], "--cacert", p.env["AWS_CA_BUNDLE"], "-K", "-"}
		execute(t, options{input: "url = \"" + url + "\"\n"}, append([]string{"curl"}, args...)...)
	}
	for _, pid := range marked(markOf(t)) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		for _, s := range secrets {
			if strings.Contains(string(line), s) {
				t.Errorf("a secret is in the arguments of %s", describe([]int{pid}))
			}
		}
	}
	modesBelow(t, tmp)
	end.Close()
	if code := run.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, s := range secrets {
		if strings.Contains(run.stderr.String(), s) {
			t.Errorf("a secret is in the log: %s", run.stderr.String())
		}
	}
	if !strings.Contains(run.stderr.String(), "aws") {
		t.Errorf("--debug says nothing: %q", run.stderr.String())
	}
	noFiles(t, tmp)
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE"} {
		if _, err := os.Stat(p.env[name]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

// modesBelow fails the test if others may read what is below a directory.
func modesBelow(t testing.TB, dir string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}))
}

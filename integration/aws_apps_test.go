//go:build linux

package integration

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tshx/integration/peer"
)

// TestAWSProfiles: several accounts in one process, each a profile of its own.
func TestAWSProfiles(t *testing.T) {
	need(t, "aws")
	nothingLeft(t)
	tr := awsTransports[0].get(t)
	p := startAWSProxy(t, tr, "--app", awsMain, "--app", awsOther)
	o := awsOptions(tr)
	o.env = append(o.env, p.environ()...)
	for app, arn := range awsARN {
		got := execute(t, o, "aws", "--profile", app, "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
		if got != arn+"\n" {
			t.Errorf("profile %s is %q, want %q", app, got, arn)
		}
	}
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE"} {
		if info, err := os.Stat(p.env[name]); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	config, err := os.ReadFile(p.env["AWS_CONFIG_FILE"])
	if err != nil || !strings.Contains(string(config), "[profile "+awsOther+"]") {
		t.Errorf("%s, %v", config, err)
	}
}

// TestAWSOwnKeys: keys and a profile of the user's own are not asked, and not sent.
func TestAWSOwnKeys(t *testing.T) {
	nothingLeft(t)
	way := *awsTransports[0].get(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	check(t, os.WriteFile(file, []byte("[default]\naws_access_key_id = AKIAOWN\naws_secret_access_key = own\naws_session_token = old\n"), 0o600))
	way.env = append(way.env, "AWS_ACCESS_KEY_ID=AKIAOWN", "AWS_SECRET_ACCESS_KEY=own", "AWS_SESSION_TOKEN=old", "AWS_SHARED_CREDENTIALS_FILE="+file)
	for _, args := range [][]string{{"--app", awsMain}, {"--app", awsMain, "--endpoint-url"}} {
		got := awsSays(t, &way, append(args, "sts", "get-caller-identity", "--query", "Arn", "--output", "text")...)
		if got != awsARN[awsMain]+"\n" {
			t.Errorf("%q: we are %q", args, got)
		}
	}
	p := startAWSProxy(t, &way, "--app", awsOther)
	if got := whoAmI(t, p.sts(t, p.credentials())); got != awsARN[awsOther] {
		t.Errorf("we are %q", got)
	}
}

// TestAWSWhichApp: without --app there must be one that is meant.
func TestAWSWhichApp(t *testing.T) {
	nothingLeft(t)
	tr := awsTransports[0].get(t)
	for _, args := range [][]string{{"aws", "s3", "ls"}, {"proxy", "aws"}} {
		p := launch(t, awsOptions(tr), append([]string{tshxPath}, args...)...)
		if code := p.wait(); code != codeUsage {
			t.Errorf("%v: exit code %d, want %d", args, code, codeUsage)
		}
		for _, app := range []string{awsMain, awsOther, awsWrong, awsDown} {
			oneLine(t, p.stderr.String(), app)
		}
	}
	p := launch(t, awsOptions(tr), tshxPath, "aws", "--app", "nothing", "s3", "ls")
	if code := p.wait(); code != codeLogin {
		t.Errorf("an app without a login: exit code %d, want %d", code, codeLogin)
	}
	oneLine(t, p.stderr.String(), "nothing.*tsh apps login nothing")
}

// TestAWSEndpoint: the port is the address of all services.
func TestAWSEndpoint(t *testing.T) {
	need(t, "aws")
	nothingLeft(t)
	tr := awsTransports[0].get(t)
	t.Run("tshx aws", func(t *testing.T) {
		if got := awsSays(t, tr, "--app", awsMain, "--endpoint-url", "sts", "get-caller-identity", "--query", "Arn", "--output", "text"); got != awsARN[awsMain]+"\n" {
			t.Errorf("we are %q", got)
		}
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		url := "s3://" + awsBucket + "/" + awsPath(t) + "/a b+c"
		awsSays(t, tr, "--app", awsMain, "--endpoint-url", "s3", "cp", "--no-progress", file, url)
		if got := awsSays(t, tr, "--app", awsMain, "--endpoint-url", "s3", "cp", "--no-progress", url, "-"); got != "content" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("tshx proxy aws", func(t *testing.T) {
		p := startAWSProxy(t, tr, "--app", awsOther, "--endpoint-url")
		if p.env["HTTPS_PROXY"] != "" {
			t.Errorf("HTTPS_PROXY is %q", p.env["HTTPS_PROXY"])
		}
		o := awsOptions(tr)
		o.env = append(o.env, p.environ()...)
		got := execute(t, o, "aws", "--endpoint-url", p.env["AWS_ENDPOINT_URL"], "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
		if got != awsARN[awsOther]+"\n" {
			t.Errorf("we are %q", got)
		}
	})
	// An endpoint of the user's own is the user's own, and not ours to answer.
	t.Run("own", func(t *testing.T) {
		var asked atomic.Int64
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.Header().Set("Content-Type", "application/xml")
			io.WriteString(w, `<ListAllMyBucketsResult><Buckets><Bucket><Name>own</Name></Bucket></Buckets></ListAllMyBucketsResult>`)
		}))
		t.Cleanup(s.Close)
		p := awsCLI(t, tr, "--app", awsMain, "--endpoint-url", s.URL, "--no-verify-ssl", "s3api", "list-buckets", "--query", "Buckets[0].Name", "--output", "text")
		if p.cmd.ProcessState.ExitCode() != 0 || p.stdout.String() != "own\n" || asked.Load() != 1 {
			t.Errorf("exit code %d after %d requests: %s", p.cmd.ProcessState.ExitCode(), asked.Load(), p.stderr.String())
		}
	})
}

// TestAWSTrouble: what the AWS CLI prints says what is wrong, and what to do.
func TestAWSTrouble(t *testing.T) {
	nothingLeft(t)
	tr := awsTransports[0].get(t)
	const who = "aws sts get-caller-identity"
	ls := []string{"s3api", "list-objects-v2", "--bucket", awsBucket}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"wrong key of the account", append([]string{"--app", awsWrong}, ls...), 254, []string{"(SignatureDoesNotMatch)", "ListObjectsV2"}},
		{"amazon down", append([]string{"--app", awsDown}, ls...), 254, []string{"(BadGateway)", "refused"}},
		{"amazon down, sts", []string{"--app", awsDown, "sts", "get-caller-identity"}, 254, []string{"(BadGateway)"}},
		{"no such bucket", []string{"--app", awsMain, "s3api", "list-objects-v2", "--bucket", "there-is-none"}, 254, []string{"(NoSuchBucket)"}},
		{"other secret key", []string{"--app", awsMain, "--exec", "sh", "-c", "AWS_SECRET_ACCESS_KEY=other " + who}, 254, []string{"(SignatureDoesNotMatch)", "this local proxy"}},
		{"other key", []string{"--app", awsMain, "--exec", "sh", "-c", "AWS_ACCESS_KEY_ID=AKIAOTHER " + who}, 254, []string{"GetCallerIdentity", "this local proxy"}},
		{"no key", []string{"--app", awsMain, "--exec", "sh", "-c", "aws --no-sign-request s3api list-objects-v2 --bucket " + awsBucket}, 254, []string{"not signed"}},
		{"usage of aws", []string{"--app", awsMain, "s3", "nonsense"}, 252, []string{"Invalid choice"}},
		{"role that is forbidden", []string{"--app", awsMain, "sts", "assume-role", "--role-session-name", "alice",
			"--role-arn", "arn:aws:iam::" + peer.AWSAccount + ":role/forbidden"}, 254, []string{"(AccessDenied)", "sts:AssumeRole"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := awsCLI(t, tr, tt.args...)
			if code := p.cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, s := range tt.says {
				if !strings.Contains(p.stderr.String(), s) {
					t.Errorf("%q is not in %q", s, p.stderr.String())
				}
			}
		})
	}
}

//go:build linux

package integration

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tshx/integration/peer"
)

// TestAWSCLILarge: what the AWS CLI sends and fetches in parts, as it likes to, is
// the same, and what it presigns is good for curl.
func TestAWSCLILarge(t *testing.T) {
	need(t, "aws", "curl")
	for _, name := range []string{"raw", "websocket nginx"} {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			tr := pick(t, awsTransports, name)
			dir := t.TempDir()
			file, back := filepath.Join(dir, "file"), filepath.Join(dir, "back")
			f, err := os.Create(file)
			check(t, err)
			_, err = io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{byte(rand.Uint32()), 2}), awsLarge))
			check(t, err)
			check(t, f.Close())
			url := "s3://" + awsBucket + "/" + awsPath(t)
			awsSays(t, tr, "--app", awsMain, "s3", "cp", "--no-progress", file, url)
			awsSays(t, tr, "--app", awsMain, "s3", "cp", "--no-progress", url, back)
			if a, b := sumOf(t, file), sumOf(t, back); a != b {
				t.Error("what came back is not what was sent")
			}
			// A URL is good as long as the proxy that it was made for runs.
			o := awsOptions(tr)
			script := `curl -sS --cacert "$AWS_CA_BUNDLE" -o "$0" "$(aws s3 presign "$1")"`
			check(t, os.Remove(back))
			execute(t, o, tshxPath, "aws", "--app", awsMain, "--exec", "sh", "-c", script, back, url)
			if a, b := sumOf(t, file), sumOf(t, back); a != b {
				t.Error("what came by the presigned URL is not what was sent")
			}
			awsSays(t, tr, "--app", awsMain, "s3", "rm", "--quiet", url)
		})
	}
}

func sumOf(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestAWSCLIRole: a role that the user's own configuration has is assumed, and
// used, as ever.
func TestAWSCLIRole(t *testing.T) {
	need(t, "aws")
	for _, name := range []string{"raw", "legacy nginx"} {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			way := *pick(t, awsTransports, name)
			config := filepath.Join(t.TempDir(), "config")
			check(t, os.WriteFile(config, []byte("[profile reader]\nregion = "+awsRegion+"\nrole_session_name = alice\ncredential_source = Environment\nrole_arn = arn:aws:iam::"+
				peer.AWSAccount+":role/reader\n"), 0o600))
			way.env = append(way.env, "AWS_CONFIG_FILE="+config)
			got := awsSays(t, &way, "--app", awsMain, "--profile", "reader", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
			if want := "arn:aws:sts::" + peer.AWSAccount + ":assumed-role/reader/alice\n"; got != want {
				t.Errorf("we are %q, want %q", got, want)
			}
			// One process asks STS, and then S3 by the keys of the role.
			url := "s3://" + awsBucket + "/" + awsPath(t)
			o := awsOptions(&way)
			got = execute(t, o, tshxPath, "aws", "--app", awsMain, "--exec", "sh", "-c",
				`export AWS_PROFILE=reader; echo content | aws s3 cp - "$0" && aws s3 cp "$0" - && aws s3 rm --quiet "$0"`, url)
			if !strings.HasSuffix(got, "content\n") {
				t.Errorf("got %q", got)
			}
		})
	}
}

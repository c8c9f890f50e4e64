package lab

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
	"tshx/internal/profile"
)

const cloudYAML = `
apps:
  - name: aws
    aws:
      access_key_id: AKIA
      secret_access_key: s3cret
      region: us-east-1
      endpoints: {s3: "http://127.0.0.1:1", "": "https://127.0.0.1:2"}
    aws_role: arn:aws:iam::1:role/admin
  - {name: plain, aws: {access_key_id: AKIA, secret_access_key: s3cret}}
  - {name: azure, uri: "http://", azure_identity: /subscriptions/1/id}
  - {name: gcp, uri: "http://", gcp_service_account: a@b.iam}
  - {name: web, uri: "http://"}
`

// Apps of clouds are so by what the user's certificates say.
func TestCloudApps(t *testing.T) {
	c, err := parseConfig([]byte(cloudYAML))
	if err != nil {
		t.Fatal(err)
	}
	want := &AWS{AccessKeyID: "AKIA", SecretAccessKey: "s3cret", Region: "us-east-1",
		Endpoints: map[string]string{"s3": "http://127.0.0.1:1", "": "https://127.0.0.1:2"}}
	if diff := cmp.Diff(want, c.Apps[0].AWS); diff != "" {
		t.Error(diff)
	}
	l, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	if err := l.WriteHome(dir, l.Addr, HomeOptions{}); err != nil {
		t.Fatal(err)
	}
	host, _, _ := net.SplitHostPort(l.Addr)
	paths := profile.Paths{Dir: dir, Proxy: host, User: l.config.User}
	for name, want := range map[string]identity.App{
		"aws":   {AWSRoleARN: "arn:aws:iam::1:role/admin"},
		"plain": {AWSRoleARN: awsRole},
		"azure": {AzureIdentity: "/subscriptions/1/id"},
		"gcp":   {GCPServiceAccount: "a@b.iam"},
		"web":   {},
	} {
		id := identityIn(t, paths.Pair(profile.LayoutV17, profile.KindApp, l.config.Cluster, name).Cert)
		got := identity.App{AWSRoleARN: id.App.AWSRoleARN, AzureIdentity: id.App.AzureIdentity, GCPServiceAccount: id.App.GCPServiceAccount}
		if got != want || id.App.Name != name {
			t.Errorf("%s: %+v", name, id.App)
		}
	}
	id := identityIn(t, paths.Pair(profile.LayoutV17, profile.KindTLS, l.config.Cluster, "").Cert)
	slices.Sort(id.AWSRoleARNs)
	if !slices.Equal(id.AWSRoleARNs, []string{awsRole, "arn:aws:iam::1:role/admin"}) || len(id.AzureIdentities) != 1 || len(id.GCPServiceAccounts) != 1 {
		t.Errorf("the login may be %q, %q, %q", id.AWSRoleARNs, id.AzureIdentities, id.GCPServiceAccounts)
	}
}

func identityIn(t testing.TB, path string) identity.Identity {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no PEM in %s", filepath.Base(path))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return identity.FromName(cert.Subject)
}

func TestCloudConfigErrors(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{"apps: [{name: a, aws: {access_key_id: AKIA}}]\n", `app "a": aws: needs an access_key_id and a secret_access_key`},
		{"apps: [{name: a, aws: {access_key: AKIA}}]\n", `unknown key "access_key"`},
		{"apps: [{name: a, aws_role: r}]\n", "neither tcp:// nor"},
	} {
		if _, err := parseConfig([]byte(tt.yaml)); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want %q", tt.yaml, err, tt.want)
		}
	}
	// What the proxy finds ends the start.
	c, err := parseConfig([]byte("apps: [{name: a, aws: {access_key_id: AKIA, secret_access_key: s3cret, endpoints: {s3: x}}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if l, err := Start(context.Background(), c); err == nil || !strings.Contains(err.Error(), `app "a": aws: endpoint "x"`) {
		if err == nil {
			l.Close()
		}
		t.Errorf("error %v", err)
	}
}

package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	clientv1 "k8s.io/client-go/pkg/apis/clientauthentication/v1"

	"tshx/internal/lab"
	"tshx/internal/profile"
	"tshx/internal/proxyserver"
)

// askPlugin are the arguments that a login gives kubectl.
func (k *kubeLab) askPlugin() []string {
	return []string{"kube", "credentials", "--kube-cluster=demo", "--teleport-cluster=lab.example.com", "--proxy=" + k.lab.Addr}
}

// isCredential demands a certificate that is of use until a minute before its end.
func isCredential(t *testing.T, out, version string) {
	t.Helper()
	var c clientv1.ExecCredential
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || d.More() {
		t.Fatalf("%v: %s", err, out)
	}
	if c.Kind != "ExecCredential" || c.APIVersion != "client.authentication.k8s.io/"+version || c.Status == nil || c.Status.ExpirationTimestamp == nil {
		t.Fatalf("%s", out)
	}
	pair, err := tls.X509KeyPair([]byte(c.Status.ClientCertificateData), []byte(c.Status.ClientKeyData))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Status.ExpirationTimestamp.Time, pair.Leaf.NotAfter.Add(-time.Minute); !got.Equal(want) {
		t.Errorf("expires %v, want %v", got, want)
	}
	if block, rest := pem.Decode([]byte(c.Status.ClientKeyData)); block.Type != "PRIVATE KEY" || len(rest) > 0 {
		t.Errorf("key is %s and %q", block.Type, rest)
	}
}

// Keys of all kinds and layouts come out in a form that all clients read.
func TestKubeCredentials(t *testing.T) {
	for _, layout := range []profile.Layout{profile.LayoutV13, profile.LayoutV17} {
		for _, alg := range []proxyserver.Algorithm{proxyserver.RSA, proxyserver.ECDSA, proxyserver.Ed25519} {
			k := newKubeLab(t, lab.HomeOptions{Layout: layout, Algorithm: alg}, "", "demo")
			isCredential(t, k.must(k.askPlugin()...), "v1beta1")
			if layout == profile.LayoutV13 && alg != proxyserver.RSA && !strings.Contains(k.read(k.paths.SSHKey()), "OPENSSH") {
				t.Errorf("the %s key of the test is not OpenSSH's", alg)
			}
		}
	}
}

// OpenSSH's form of an RSA key is what ssh-keygen makes, and what logins with a
// key of the user's own have.
func TestKubeCredentialsOpenSSHKey(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{Layout: profile.LayoutV13}, "", "demo")
	key, err := ssh.ParseRawPrivateKey([]byte(k.read(k.paths.SSHKey())))
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "comment")
	if err != nil {
		t.Fatal(err)
	}
	k.write(k.paths.SSHKey(), string(pem.EncodeToMemory(block)))
	isCredential(t, k.must(k.askPlugin()...), "v1beta1")
}

// kubectl says which version it wants.
func TestKubeCredentialsVersion(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	info := func(version string) string {
		return `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/` + version + `","spec":{"interactive":true}}`
	}
	for _, version := range []string{"v1", "v1beta1"} {
		t.Setenv("KUBERNETES_EXEC_INFO", info(version))
		isCredential(t, k.must(k.askPlugin()...), version)
	}
	for value, want := range map[string]string{
		info("v1alpha1"): `ExecCredential of version "client.authentication.k8s.io/v1alpha1" is not supported`,
		"{":              "read KUBERNETES_EXEC_INFO",
	} {
		t.Setenv("KUBERNETES_EXEC_INFO", value)
		code, out, talk := k.tshx(k.askPlugin()...)
		if code != exitFailure || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, want) {
			t.Errorf("%s: exit code %d, %s%s", value, code, out, talk)
		}
	}
}

// What is wrong with the login is one line that says what to run, with the exit
// code for it. What is not about the certificate does not matter.
func TestKubeCredentialsLogin(t *testing.T) {
	yes := true
	for _, tt := range []struct {
		name   string
		o      lab.HomeOptions
		change func(t *testing.T, k *kubeLab)
		code   int
		want   string // "" works
	}{
		{"expired", lab.HomeOptions{TTL: -time.Hour}, nil, exitLogin, `kube cluster "demo" certificate expired `},
		{"missing", lab.HomeOptions{}, func(_ *testing.T, k *kubeLab) { os.Remove(k.credential("demo")) }, exitLogin, `certificate not found`},
		{"not its key", lab.HomeOptions{Mismatch: true}, nil, exitLogin, "does not belong to its private key"},
		{"no certificate", lab.HomeOptions{}, func(_ *testing.T, k *kubeLab) { k.write(k.credential("demo"), "x") }, exitLogin, "cannot be used"},
		{"behind a balancer", lab.HomeOptions{UpgradeRequired: &yes}, nil, exitFailure,
			`kubectl alone does not reach kube cluster "demo": something in front of the proxy ends TLS; use tshx kubectl in place of kubectl, or: tshx proxy kube demo`},
		{"behind a balancer, but with a port of its own", lab.HomeOptions{UpgradeRequired: &yes}, func(_ *testing.T, k *kubeLab) { k.kubeAddr("kube.example.com:3026") }, 0, ""},
		{"no CA file", lab.HomeOptions{}, func(t *testing.T, k *kubeLab) { t.Setenv("TSHX_CA_FILE", k.home+"/nosuch") }, 0, ""},
		{"broken kubeconfig", lab.HomeOptions{}, func(_ *testing.T, k *kubeLab) { k.write(k.config, "a: b: c") }, 0, ""},
		{"no authorities", lab.HomeOptions{}, func(_ *testing.T, k *kubeLab) { os.RemoveAll(k.paths.ProxyDir() + "/cas") }, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKubeLab(t, tt.o, "", "demo")
			if tt.change != nil {
				tt.change(t, k)
			}
			code, out, talk := k.tshx(append(k.askPlugin(), "--insecure")...)
			if tt.want == "" {
				isCredential(t, out, "v1beta1")
				if talk != "" {
					t.Errorf("%s", talk)
				}
				return
			}
			if code != tt.code || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, tt.want) {
				t.Errorf("exit code %d, %s%s", code, out, talk)
			}
			if code == exitLogin && !strings.Contains(talk, "run: tsh ") {
				t.Errorf("nothing to run in %s", talk)
			}
		})
	}
}

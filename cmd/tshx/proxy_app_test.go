package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"testing"

	"tshx/internal/appproxy"
	"tshx/internal/httproute"
	"tshx/internal/identity"
	"tshx/internal/profile"
	"tshx/internal/program"
)

func TestAppPort(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0 0", "8080": "8080 0", "8080:5432": "8080 5432", "0:1": "0 1", "65535:65535": "65535 65535",
		"": "", ":": "", "80:": "", ":80": "", "80:0": "", "65536": "", "80:65536": "", "-1": "", "80:90:100": "", "http": "",
	} {
		var p appPort
		err := p.UnmarshalText([]byte(text))
		if (err != nil) != (want == "") {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && fmt.Sprint(*p.local, p.target) != want {
			t.Errorf("%q: %d, %d", text, *p.local, p.target)
		}
	}
}

// leafOf has one more attribute in its subject.
func leafOf(value string, oid ...int) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{Names: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "5432"}, // CN
		{Type: asn1.ObjectIdentifier{1, 3, 9999, 1, 2}, Value: "5432"},
		{Type: oid, Value: value},
	}}}
}

func TestTarget(t *testing.T) {
	for _, tt := range []struct {
		leaf *x509.Certificate
		want bool
	}{
		{leafOf("5432", 1, 3, 9999, 1, 21), true},
		{leafOf("5432", 1, 3, 9999, 1, 30), true},
		{leafOf("543", 1, 3, 9999, 1, 21), false},
		{leafOf("5432", 1, 3, 9999, 1, 20), false},
		{leafOf("5432", 1, 3, 9999, 2, 21), false},
		{leafOf("5432", 1, 3, 9999, 1, 21, 1), false},
	} {
		read := func() (*tls.Certificate, error) { return &tls.Certificate{Leaf: tt.leaf}, nil }
		_, err := forTarget(5432, `application "a"`, "tsh apps login a", read)()
		if (err == nil) != tt.want {
			t.Errorf("%v: %v", tt.leaf.Subject.Names[2], err)
		}
		if err == nil {
			continue
		}
		const line = `application "a" certificate is not for its port 5432; run: tsh apps login a --target-port 5432`
		if explain(err) != line || exitCode(err) != exitLogin {
			t.Errorf("%s, exit code %d", explain(err), exitCode(err))
		}
	}
	missing := &profile.CertError{What: "app", Problem: profile.Missing}
	_, err := forTarget(1, "a", "b", func() (*tls.Certificate, error) { return nil, missing })()
	if err != missing {
		t.Errorf("%v", err)
	}
}

func TestCloudApp(t *testing.T) {
	for command, app := range map[string]identity.App{
		"aws": {AWSRoleARN: "arn"}, "azure": {AzureIdentity: "id"}, "gcp": {GCPServiceAccount: "a"}, "": {Name: "web"},
	} {
		err := notCloud(app, "my app")
		var usage *program.UsageError
		switch {
		case command == "" && err != nil, command != "" && !errors.As(err, &usage):
			t.Errorf("%s: %v", command, err)
		case command != "" && err.Error() != fmt.Sprintf(`application "my app" is the API of a cloud; use: tshx proxy %s --app 'my app'`, command):
			t.Error(err)
		}
	}
}

func TestAdvise(t *testing.T) {
	const renew = "tsh apps login web"
	for _, tt := range []struct {
		err  error
		want appproxy.Advice
	}{
		{
			&httproute.CertError{Err: &profile.CertError{What: `app "web" certificate`, Path: "/f", Problem: profile.Broken, Renew: "tsh --proxy=p apps login web"}},
			appproxy.Advice{Message: `app "web" certificate cannot be used (/f)`, Command: "tsh --proxy=p apps login web"},
		},
		{
			&httproute.CertError{Err: &targetError{"application", 5, "login --target-port 5"}},
			appproxy.Advice{Message: "application certificate is not for its port 5", Command: "login --target-port 5"},
		},
		{&httproute.CertError{Err: errors.New("gone\x1b")}, appproxy.Advice{Message: "gone", Command: renew}},
		{context.DeadlineExceeded, appproxy.Advice{Message: "context deadline exceeded", Hint: "no answer in time; check the address, your network and the proxy"}},
	} {
		if got := advise(tt.err, renew); got != tt.want {
			t.Errorf("%v: %+v", tt.err, got)
		}
	}
}

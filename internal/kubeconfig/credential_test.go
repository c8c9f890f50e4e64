package kubeconfig

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authv1 "k8s.io/client-go/pkg/apis/clientauthentication/v1"
	authv1beta1 "k8s.io/client-go/pkg/apis/clientauthentication/v1beta1"
)

// strict decodes data to v, which must know all of it.
func strict(t *testing.T, data []byte, v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatal(err)
	}
}

// TestCredential reads the answer with kubectl's types.
func TestCredential(t *testing.T) {
	end := time.Date(2030, 1, 2, 3, 4, 5, 6, time.FixedZone("CET", 3600))
	expires := metav1.NewTime(time.Date(2030, 1, 2, 2, 3, 5, 0, time.UTC))
	answer := func(version string) []byte {
		data, err := Credential(version, []byte("CERT\n"), []byte("KEY\n"), end)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	kind := func(version string) metav1.TypeMeta {
		return metav1.TypeMeta{Kind: "ExecCredential", APIVersion: version}
	}
	var one authv1.ExecCredential
	strict(t, answer(version1), &one)
	if diff := cmp.Diff(authv1.ExecCredential{TypeMeta: kind(version1), Status: &authv1.ExecCredentialStatus{
		ExpirationTimestamp: &expires, ClientCertificateData: "CERT\n", ClientKeyData: "KEY\n",
	}}, one); diff != "" {
		t.Error(diff)
	}
	var beta authv1beta1.ExecCredential
	strict(t, answer(versionBeta), &beta)
	if diff := cmp.Diff(authv1beta1.ExecCredential{TypeMeta: kind(versionBeta), Status: &authv1beta1.ExecCredentialStatus{
		ExpirationTimestamp: &expires, ClientCertificateData: "CERT\n", ClientKeyData: "KEY\n",
	}}, beta); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct{ version, cert, key string }{
		{"client.authentication.k8s.io/v1alpha1", "c", "k"}, {"", "c", "k"}, {version1, "", "k"}, {version1, "c", ""},
	} {
		if data, err := Credential(tt.version, []byte(tt.cert), []byte(tt.key), end); err == nil {
			t.Errorf("%+v gives %s", tt, data)
		}
	}
}

func TestCredentialVersion(t *testing.T) {
	info := func(version string) string {
		return `{"kind":"ExecCredential","apiVersion":"` + version + `","spec":{"interactive":true,"cluster":{"server":"x"}}}`
	}
	for _, tt := range []struct{ info, want, err string }{
		{"", versionBeta, ""},
		{info(version1), version1, ""},
		{info(versionBeta), versionBeta, ""},
		{info("client.authentication.k8s.io/v1alpha1"), "", "not supported"},
		{`{"kind":"Pod"}`, "", "not ExecCredential"},
		{"{", "", "KUBERNETES_EXEC_INFO"},
	} {
		got, err := CredentialVersion(tt.info)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, want %q", tt.info, err, tt.err)
		}
		if err == nil && got != tt.want {
			t.Errorf("%s: %q, want %q", tt.info, got, tt.want)
		}
	}
}

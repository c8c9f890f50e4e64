package kubeconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Versions of the protocol between kubectl and an exec plugin.
const (
	versionBeta = "client.authentication.k8s.io/v1beta1"
	version1    = "client.authentication.k8s.io/v1"
)

// credentialEarly is how long before its end kubectl is not to use a certificate
// any more, but to ask again.
const credentialEarly = time.Minute

// CredentialVersion returns the apiVersion that kubectl wants, from what it put
// into KUBERNETES_EXEC_INFO. That is "" when a user runs the plugin by hand, who
// gets v1beta1.
func CredentialVersion(execInfo string) (string, error) {
	if execInfo == "" {
		return versionBeta, nil
	}
	var info struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal([]byte(execInfo), &info); err != nil {
		return "", fmt.Errorf("read KUBERNETES_EXEC_INFO: %w", err)
	}
	if info.Kind != "ExecCredential" {
		return "", fmt.Errorf("read KUBERNETES_EXEC_INFO: kind is %q, not ExecCredential", info.Kind)
	}
	return info.APIVersion, checkVersion(info.APIVersion)
}

func checkVersion(apiVersion string) error {
	if apiVersion != version1 && apiVersion != versionBeta {
		return fmt.Errorf("ExecCredential of version %q is not supported, but %s and %s are", apiVersion, version1, versionBeta)
	}
	return nil
}

// Credential returns what an exec plugin prints, with a new line at its end.
// Cert and key are PEM; notAfter is the certificate's end, a minute before which
// kubectl will ask again.
func Credential(apiVersion string, cert, key []byte, notAfter time.Time) ([]byte, error) {
	if err := checkVersion(apiVersion); err != nil {
		return nil, err
	}
	if len(cert) == 0 || len(key) == 0 {
		return nil, errors.New("a credential needs a certificate and a key")
	}
	type spec struct {
		Interactive bool `json:"interactive"`
	}
	type status struct {
		Expires string `json:"expirationTimestamp"`
		Cert    string `json:"clientCertificateData"`
		Key     string `json:"clientKeyData"`
	}
	data, err := json.Marshal(struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Spec       spec   `json:"spec"`
		Status     status `json:"status"`
	}{
		"ExecCredential", apiVersion, spec{},
		status{notAfter.Add(-credentialEarly).UTC().Format(time.RFC3339), string(cert), string(key)},
	})
	return append(data, '\n'), err
}

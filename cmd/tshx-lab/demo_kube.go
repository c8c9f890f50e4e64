package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"tshx/internal/lab"
)

// kube asks the cluster who it takes us for, by the kubeconfig that tshx makes.
func (d *demo) kube(ctx context.Context) (string, error) {
	config := filepath.Join(d.dir, "localproxy-kubeconfig")
	return d.listen(ctx, func(l listening) (string, error) {
		k, err := lab.Kube{Name: "demo", Kubeconfig: config}.Load()
		if err != nil {
			return "", err
		}
		tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: l.Address}), TLSClientConfig: k.TLS}
		defer tr.CloseIdleConnections()
		var version struct{ GitVersion string }
		if err := askKube(ctx, tr, http.MethodGet, k.Server+"/version", &version); err != nil {
			return "", err
		}
		var review struct {
			Status struct {
				UserInfo struct{ Username string }
			}
		}
		if err := askKube(ctx, tr, http.MethodPost, k.Server+"/apis/authentication.k8s.io/v1/selfsubjectreviews", &review); err != nil {
			return "", err
		}
		return fmt.Sprintf("tshx proxy kube demo: at %s, Kubernetes %s takes us for %q",
			l.Address, version.GitVersion, review.Status.UserInfo.Username), nil
	}, "proxy", "kube", "demo", "--port", "0", "--kubeconfig", config)
}

// askKube reads the JSON of one answer.
func askKube(ctx context.Context, tr *http.Transport, method, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, req.URL.Path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// kubectl logs in and runs the real one. Its cache stays with the rest.
func (d *demo) kubectl(ctx context.Context) (string, error) {
	if _, err := d.output(ctx, d.tshx, "kube", "login", "demo"); err != nil {
		return "", err
	}
	out, err := d.output(ctx, d.tshx, "kubectl", "get", "namespaces", "-o", "name", "--cache-dir", filepath.Join(d.dir, "kubectl"))
	if err != nil {
		return "", err
	}
	return "tshx kube login demo; tshx kubectl get namespaces -o name: " + strings.Join(strings.Fields(out), ", "), nil
}

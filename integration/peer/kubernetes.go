//go:build linux

package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Kube is a Kubernetes cluster: etcd, an API server with RBAC and one node,
// which is a stub with one running pod. Exec in the pod runs programs of this
// machine as the user of this process, port-forward dials 127.0.0.1, and all of
// it goes through the API server. There is no controller and no scheduler.
type Kube struct {
	Server     string // URL of the API server
	Kubeconfig string // file of an administrator, 0600
	Kubectl    string // path of the kubectl of the API server's version
	Pod        string // name of the pod in the default namespace, and of its container
	Root       string // directory that exec starts in
	Log        string // file that kubectl logs shows; tests may append to it

	// The programs; a test may close the API server to see it gone.
	Etcd, APIServer, Kubelet *Server
}

// kubePrograms are those of integration/peers/kubernetes.
var kubePrograms = []string{"etcd", "kube-apiserver", "kubelet-stub", "kubectl"}

const (
	kubeNode = "node"
	kubePod  = "box"
)

// Kubernetes starts a cluster. It keeps keys, the kubeconfig and the directory
// of the pod in dir, which must exist and stays when the cluster is closed.
func Kubernetes(dir string) (*Kube, error) {
	for _, p := range kubePrograms {
		// Not any that is in PATH: the versions must fit, and the kubectl of
		// some distributions is a wrapper.
		if !isExecutable(builtPath(p)) {
			return nil, &MissingError{Program: p}
		}
	}
	k := &Kube{
		Kubectl: builtPath("kubectl"), Kubeconfig: filepath.Join(dir, "admin.yaml"), Pod: kubePod,
		Root: filepath.Join(dir, "root"), Log: filepath.Join(dir, "box.log"),
	}
	if err := k.start(kubeFiles(dir)); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Close ends all programs.
func (k *Kube) Close() {
	for _, s := range []*Server{k.Kubelet, k.APIServer, k.Etcd} {
		if s != nil {
			s.Close()
		}
	}
}

func (k *Kube) start(f kubeFiles) error {
	if err := os.Mkdir(k.Root, 0o755); err != nil {
		return err
	}
	admin, err := f.make()
	if err != nil {
		return err
	}
	if k.Etcd, err = f.etcd(); err != nil {
		return err
	}
	if k.APIServer, err = f.apiServer(k.Etcd.Addr); err != nil {
		return err
	}
	k.Server = "https://" + k.APIServer.Addr
	config, err := f.kubeconfig(k.Server, admin)
	if err != nil {
		return err
	}
	if err := os.WriteFile(k.Kubeconfig, config, 0o600); err != nil {
		return err
	}
	k.Kubelet, err = blueprint{
		name: "kubelet",
		argv: func(_ string, addrs []string) ([]string, error) {
			return []string{builtPath("kubelet-stub"), "-kubeconfig", k.Kubeconfig, "-listen", addrs[0],
				"-cert", f.path(serverCert), "-key", f.path(serverKey), "-client-ca", f.path(inner),
				"-node", kubeNode, "-pod", k.Pod, "-log", k.Log, "-dir", k.Root}, nil
		},
	}.start()
	return err
}

// etcd runs the store, which lets in nobody but the API server.
func (f kubeFiles) etcd() (*Server, error) {
	return blueprint{
		name: "etcd", stop: syscall.SIGKILL, // nothing in there is to be kept
		argv: func(dir string, addrs []string) ([]string, error) {
			client := "https://" + addrs[0]
			argv := []string{builtPath("etcd"), "--data-dir=" + filepath.Join(dir, "data"), "--unsafe-no-fsync", "--log-level=warn",
				"--listen-client-urls=" + client, "--advertise-client-urls=" + client, "--listen-peer-urls=https://127.0.0.1:0"}
			for _, side := range []string{"", "peer-"} {
				argv = append(argv, "--"+side+"client-cert-auth", "--"+side+"trusted-ca-file="+f.path(inner),
					"--"+side+"cert-file="+f.path(serverCert), "--"+side+"key-file="+f.path(serverKey))
			}
			return argv, nil
		},
	}.start()
}

// apiServer runs the API server on the etcd at that address.
func (f kubeFiles) apiServer(etcd string) (*Server, error) {
	return blueprint{
		name: "kube-apiserver", stop: syscall.SIGKILL, // it would wait for those who watch
		ready: f.ready,
		argv: func(dir string, addrs []string) ([]string, error) {
			return []string{builtPath("kube-apiserver"),
				"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + portOf(addrs[0]),
				"--cert-dir=" + dir, "--tls-cert-file=" + f.path(serverCert), "--tls-private-key-file=" + f.path(serverKey),
				"--client-ca-file=" + f.path(users), "--authorization-mode=RBAC",
				"--etcd-servers=https://" + etcd, "--etcd-cafile=" + f.path(inner),
				"--etcd-certfile=" + f.path(clientCert), "--etcd-keyfile=" + f.path(clientKey),
				"--kubelet-certificate-authority=" + f.path(inner), "--kubelet-preferred-address-types=InternalIP",
				"--kubelet-client-certificate=" + f.path(clientCert), "--kubelet-client-key=" + f.path(clientKey),
				"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + f.path(accountKey),
				"--service-account-signing-key-file=" + f.path(accountKey),
				"--service-cluster-ip-range=10.96.0.0/24", "--endpoint-reconciler-type=none"}, nil
		},
	}.start()
}

// ready asks the API server whether it is.
func (f kubeFiles) ready(ctx context.Context, addrs []string) error {
	pem, err := os.ReadFile(f.path(inner))
	if err != nil {
		return err
	}
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(pem) // ours
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: cas}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addrs[0]+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("kube-apiserver answers %s: %q", resp.Status, tail(strings.TrimSpace(string(text)), 5))
	}
	return nil
}

// builtPath is where a program of ours is, if it has been built.
func builtPath(program string) string { return filepath.Join(builtDir(), program) }

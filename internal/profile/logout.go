package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrFixed says that an identity file cannot lose a part of what it holds.
var ErrFixed = errors.New("an identity file holds its certificates for good")

// RemoveDB removes the certificate of this database in p.Cluster and what
// belongs to it alone, in all layouts, and returns the paths that it has
// removed. The login's own key stays. It is an error if there is nothing to
// remove, a *CertError as of DBCert, but not if a certificate is not valid. What
// cannot be removed keeps nothing else.
func (p *Profile) RemoveDB(name string) (removed []string, err error) {
	return p.remove(KindDB, name, filepath.Join(p.Paths().ClusterDir(KindDB, p.Cluster), name+suffixWallet))
}

// RemoveKube is the same for a Kubernetes cluster, with its standalone
// kubeconfig.
func (p *Profile) RemoveKube(name string) (removed []string, err error) {
	return p.remove(KindKube, name, p.Paths().KubeConfig(p.Cluster, name))
}

// RemoveApp is the same for an app, with its local authority.
func (p *Profile) RemoveApp(name string) (removed []string, err error) {
	return p.remove(KindApp, name, p.Paths().AppLocalCA(p.Cluster, name))
}

// RemovableApps are the names in p.Cluster that RemoveApp has something to remove
// for, sorted: also what is left of an app without its certificate.
func (p *Profile) RemovableApps() ([]string, error) {
	if p.IdentityFile != "" {
		return nil, fmt.Errorf("%s: %w", p.IdentityFile, ErrFixed)
	}
	if err := CheckName("cluster", p.Cluster); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p.Paths().ClusterDir(KindApp, p.Cluster))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		for _, suffix := range []string{extCert, extKey, suffixX509, suffixLocal} {
			if name, ok := strings.CutSuffix(e.Name(), suffix); ok && name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// remove removes a certificate and the file or directory beside it.
func (p *Profile) remove(kind Kind, name, beside string) (removed []string, err error) {
	if p.IdentityFile != "" {
		return nil, fmt.Errorf("%s: %w", p.IdentityFile, ErrFixed)
	}
	if err := p.checkNames(kind, p.Cluster, name); err != nil {
		return nil, err
	}
	_, missing := p.find(kind, p.Cluster, name) // before it is removed
	v17 := p.Paths().Pair(LayoutV17, kind, p.Cluster, name)
	v13 := p.Paths().Pair(LayoutV13, kind, p.Cluster, name)
	certs := slices.Compact([]string{v17.Cert, v17.Key, v13.Cert}) // the key of v13 is the login's
	for _, path := range append(certs, beside) {
		if _, lerr := os.Lstat(path); errors.Is(lerr, fs.ErrNotExist) {
			continue
		}
		unlink := os.Remove
		if path == beside {
			unlink = os.RemoveAll
		}
		if rerr := unlink(path); rerr != nil {
			err = errors.Join(err, fmt.Errorf("%s cannot be removed: %w", path, cause(rerr)))
			continue
		}
		removed = append(removed, path)
	}
	if len(removed) == 0 && err == nil {
		return nil, missing
	}
	return removed, err
}

// suffixWallet is of the directory with a certificate in the form that Oracle's
// clients take.
const suffixWallet = "-wallet"

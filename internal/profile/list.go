package profile

import (
	"errors"
	"io/fs"
	"os"
	"slices"
)

// Databases are the names of the databases in p.Cluster that there is a
// certificate for, valid or not, sorted.
func (p *Profile) Databases() ([]string, error) { return p.names(KindDB, p.Cluster) }

// Apps is the same for apps.
func (p *Profile) Apps() ([]string, error) { return p.names(KindApp, p.Cluster) }

// Kubes is the same for Kubernetes clusters.
func (p *Profile) Kubes() ([]string, error) { return p.names(KindKube, p.Cluster) }

// names lists the certificates of a kind other than KindTLS and KindSSH.
func (p *Profile) names(kind Kind, cluster string) ([]string, error) {
	if p.IdentityFile != "" {
		return p.bundleNames(kind)
	}
	if err := CheckName("cluster", cluster); err != nil {
		return nil, err
	}
	return certNames(kind, p.Paths().ClusterDir(kind, cluster))
}

// certNames lists the certificates in one directory. No directory is no
// certificates.
func certNames(kind Kind, dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := resourceName(kind, e.Name()); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// clusters are those with a directory for certificates of this kind, sorted.
func (p *Profile) clusters(kind Kind) []string {
	entries, _ := os.ReadDir(p.Paths().KindDir(kind)) // what cannot be listed is not there
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

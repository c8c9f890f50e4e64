package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrFixed says that an identity file cannot lose a part of what it holds.
var ErrFixed = errors.New("an identity file holds its certificates for good")

// RemoveDB removes the certificate of this database in p.Cluster and what
// belongs to it alone, in all layouts, and returns the paths that it has
// removed. The login's own key stays. It is an error if there is nothing to
// remove, a *CertError as of DBCert, but not if a certificate is not valid.
func (p *Profile) RemoveDB(name string) (removed []string, err error) {
	if p.IdentityFile != "" {
		return nil, fmt.Errorf("%s: %w", p.IdentityFile, ErrFixed)
	}
	if err := p.checkNames(KindDB, p.Cluster, name); err != nil {
		return nil, err
	}
	_, missing := p.find(KindDB, p.Cluster, name) // before it is removed
	paths := p.Paths()
	v17 := paths.Pair(LayoutV17, KindDB, p.Cluster, name)
	v13 := paths.Pair(LayoutV13, KindDB, p.Cluster, name)
	for _, path := range []string{v17.Cert, v17.Key, v13.Cert} { // the key of v13 is the login's
		switch err := os.Remove(path); {
		case err == nil:
			removed = append(removed, path)
		case !errors.Is(err, fs.ErrNotExist):
			return removed, fmt.Errorf("remove: %w", err)
		}
	}
	wallet := filepath.Join(paths.ClusterDir(KindDB, p.Cluster), name+suffixWallet)
	if _, err := os.Lstat(wallet); err == nil {
		if err := os.RemoveAll(wallet); err != nil {
			return removed, fmt.Errorf("remove: %w", err)
		}
		removed = append(removed, wallet)
	}
	if len(removed) == 0 {
		return nil, missing
	}
	return removed, nil
}

// suffixWallet is of the directory with a certificate in the form that Oracle's
// clients take.
const suffixWallet = "-wallet"

package profile

import (
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// Files are the paths to hand to a client program that does TLS by itself.
// With an identity file all three may be that file.
type Files struct {
	CA   string // PEM: authorities of the proxy's host certificate
	Cert string // PEM
	Key  string // PEM
}

// TLSFiles are the files of the login itself.
func (p *Profile) TLSFiles() (Files, error) { return p.files(KindTLS, "") }

// DBFiles are the files for the database of this name in p.Cluster. The error
// for one without a certificate is a *CertError; whether it is valid is not
// looked at.
func (p *Profile) DBFiles(name string) (Files, error) { return p.files(KindDB, name) }

// AppFiles is the same for an app.
func (p *Profile) AppFiles(name string) (Files, error) { return p.files(KindApp, name) }

func (p *Profile) files(kind Kind, name string) (Files, error) {
	if p.IdentityFile != "" {
		return p.virtualFiles(kind, name)
	}
	pair, err := p.find(kind, p.Cluster, name)
	if err != nil {
		return Files{}, err
	}
	ca, err := retry(p, func() (string, error) {
		path, _, err := p.caFile()
		return path, err
	})
	return Files{CA: ca, Cert: pair.Cert, Key: pair.Key}, err
}

// virtualFiles takes the paths from the environment, and else names the
// identity file for everything it holds.
func (p *Profile) virtualFiles(kind Kind, name string) (Files, error) {
	self := p.IdentityFile
	f := Files{CA: p.virtual(self, "CA", "HOST"), Key: p.virtual(self, "KEY"), Cert: self}
	if kind == KindTLS {
		return f, nil
	}
	if err := p.checkNames(kind, p.Cluster, name); err != nil {
		return Files{}, err
	}
	part := strings.ToUpper(string(kind))
	f.Cert = p.virtual("", part, name)
	f.Key = p.virtual(self, "KEY", part, name)
	if f.Cert != "" {
		return f, nil
	}
	b, err := p.bundle()
	if err != nil {
		return Files{}, err
	}
	f.Cert = self
	if b.tlsCert == nil {
		return Files{}, p.bundleFailure(what(KindTLS, "")).new(Missing, b.file)
	}
	id, err := b.identity()
	if err != nil {
		return Files{}, p.bundleFailure(what(KindTLS, "")).at(b.file, err)
	}
	if route(id, kind) != name {
		return Files{}, p.noRoute(b, id, kind, name)
	}
	return f, nil
}

// virtual is the path that the environment gives for a kind of file and, the
// most specific first, what it is for; without one it is otherwise
// (docs/protocol.md, "Profile directory").
func (p *Profile) virtual(otherwise string, parts ...string) string {
	for n := len(parts); n > 0; n-- {
		name := strings.ToUpper("TSH_VIRTUAL_PATH_" + strings.Join(parts[:n], "_"))
		if path := p.getenv(name); path != "" {
			return path
		}
	}
	return otherwise
}

// LooseFiles are the private keys of this login, or its identity file, that
// other users of the machine may read. There are none on Windows, where the
// mode does not tell.
func (p *Profile) LooseFiles() []string {
	if runtime.GOOS == "windows" {
		return nil
	}
	var loose []string
	seen := make(map[string]bool)
	for _, path := range p.keyFiles() {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || seen[path] {
			continue
		}
		seen[path] = true
		if info.Mode().Perm()&(readGroup|readOthers) != 0 {
			loose = append(loose, path)
		}
	}
	return loose
}

const readGroup, readOthers fs.FileMode = 0o040, 0o004

func (p *Profile) keyFiles() []string {
	if p.IdentityFile != "" {
		return []string{p.IdentityFile}
	}
	paths := p.Paths()
	files := []string{paths.SSHKey(), paths.Pair(LayoutV17, KindTLS, "", "").Key}
	for _, kind := range []Kind{KindDB, KindApp, KindKube} {
		for _, cluster := range p.clusters(kind) {
			names, _ := certNames(kind, paths.ClusterDir(kind, cluster)) // what cannot be listed is not there
			for _, name := range names {
				files = append(files, paths.Pair(LayoutV17, kind, cluster, name).Key)
			}
		}
	}
	return files
}

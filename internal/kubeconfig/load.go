package kubeconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd/api"
)

// maxFile bounds what is read of one file.
const maxFile = 16 << 20

// Load reads and merges files, as kubectl does: of entries with the same name,
// and of the settings beside them, the first file's counts. Relative paths in
// entries become absolute, based on the directory of their file. Missing files
// are empty. Of each broken file the error has a *ParseError.
func Load(paths []string) (*api.Config, error) {
	merged := api.NewConfig()
	var errs []error
	for _, path := range paths {
		data, err := read(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		config, err := decode(path, data)
		if err == nil {
			err = resolve(config, path)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		merge(merged, config)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return merged, nil
}

// read reads a file, which may be a pipe such as the /dev/fd/63 of a shell's
// process substitution.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is larger than %d MiB", maxFile>>20)}
	}
	return data, err
}

// merge adds to config what other has and config has not.
func merge(config, other *api.Config) {
	fill(config.Clusters, other.Clusters)
	fill(config.AuthInfos, other.AuthInfos)
	fill(config.Contexts, other.Contexts)
	fill(config.Extensions, other.Extensions)
	if config.CurrentContext == "" {
		config.CurrentContext = other.CurrentContext
	}
	config.Preferences.Colors = config.Preferences.Colors || other.Preferences.Colors
	if config.Preferences.Extensions == nil {
		config.Preferences.Extensions = other.Preferences.Extensions
	} else {
		fill(config.Preferences.Extensions, other.Preferences.Extensions)
	}
}

func fill[V any](m, other map[string]V) {
	for name, v := range other {
		if _, ok := m[name]; !ok {
			m[name] = v
		}
	}
}

// resolve notes the origin of config's entries and makes their paths absolute.
// The command of an exec plugin is a path only if it has a separator.
func resolve(config *api.Config, path string) error {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return err
	}
	absolute := func(refs ...*string) {
		for _, ref := range refs {
			if *ref != "" && !filepath.IsAbs(*ref) {
				*ref = filepath.Join(dir, *ref)
			}
		}
	}
	for _, c := range config.Clusters {
		c.LocationOfOrigin = path
		absolute(&c.CertificateAuthority)
	}
	for _, u := range config.AuthInfos {
		u.LocationOfOrigin = path
		absolute(&u.ClientCertificate, &u.ClientKey, &u.TokenFile)
		if u.Exec != nil && strings.ContainsRune(u.Exec.Command, filepath.Separator) {
			absolute(&u.Exec.Command)
		}
	}
	for _, c := range config.Contexts {
		c.LocationOfOrigin = path
	}
	return nil
}

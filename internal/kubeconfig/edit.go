package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"k8s.io/client-go/tools/clientcmd/api"
)

// backupSuffix is added to a file's path for its backup.
const backupSuffix = ".tshx-backup"

// Edit changes the kubeconfig at path, which may not exist yet and may be a
// symbolic link. Change gets the content of this one file, relative paths as
// they are, and is called a second time if the first call was for nothing.
//
// Only what change changed is written: other entries stay as they are, in their
// order, with fields that client-go does not know. If nothing changed, the file
// is not written. It is replaced whole, while the lock of kubectl and helm is
// held: if that is taken for 5 s, the error is a *LockedError. Ctx bounds the
// wait only.
//
// Before the edit a file with anything that no login wrote is copied to
// path.tshx-backup, mode 0600. An earlier copy is kept if a login is in the file
// now, so that the backup is always from before the login.
func Edit(ctx context.Context, path string, change func(*api.Config) error) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		// No lock and no directory if there is nothing to do.
		if data, err := edited(path, nil, change); err != nil || data == nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	unlock, err := lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := open(path)
	if err != nil {
		return err
	}
	data, err := edited(path, f.data, change)
	if err != nil || data == nil {
		return err
	}
	if err := backup(path, f); err != nil {
		return fmt.Errorf("back up %s: %w", path, err)
	}
	return f.replace(data)
}

// edited returns the content of the file at path after change, or nil if change
// changed nothing.
func edited(path string, data []byte, change func(*api.Config) error) ([]byte, error) {
	config, err := decode(path, data)
	if err != nil {
		return nil, err
	}
	before, err := treeOf(config)
	if err != nil {
		return nil, err
	}
	if err := change(config); err != nil {
		return nil, err
	}
	after, err := treeOf(config)
	if err != nil {
		return nil, err
	}
	if reflect.DeepEqual(before, after) {
		return nil, nil
	}
	changed, err := rewrite(data, before, after)
	if err == nil {
		err = verify(data, changed, before, after)
	}
	if err != nil {
		return nil, fmt.Errorf("edit %s: %w", path, err)
	}
	return changed, nil
}

// backup copies f, unless it has nothing to lose or a better copy exists.
func backup(path string, f file) error {
	config, err := decode(path, f.data)
	if err != nil {
		return err
	}
	copied := path + backupSuffix
	_, err = os.Lstat(copied)
	logins := len(Teleport(config)) > 0
	if err == nil && logins {
		return nil
	}
	Logout(config, func(Entry) bool { return true })
	if len(config.Clusters)+len(config.AuthInfos)+len(config.Contexts)+len(config.Extensions) == 0 {
		return nil
	}
	return file{path: copied}.replace(f.data)
}

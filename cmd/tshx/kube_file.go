package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/profile"
)

// ephemeralFile is the kubeconfig of a local proxy.
type ephemeralFile struct {
	path string // "" is decided by write
	cert []byte // PEM, which nobody else's has; nil before it was written
}

// write writes config, in which cert is. The default path is beside the
// certificates of p.
func (f *ephemeralFile) write(env *Env, p *profile.Profile, addr net.Addr, config *api.Config, cert []byte) error {
	if f.path == "" {
		_, port := hostPort(addr)
		name := "localproxy-" + strconv.Itoa(port) + "-kubeconfig"
		f.path = env.cacheFile(name) // for an identity file
		if p.IdentityFile == "" {
			f.path = filepath.Join(p.Paths().ClusterDir(profile.KindKube, p.Cluster), name)
		}
	}
	if f.path == "" {
		return &noHomeError{errors.New("no place for a kubeconfig"), "TELEPORT_KUBECONFIG"}
	}
	path, err := filepath.Abs(f.path)
	if err != nil {
		return err
	}
	f.path = path
	if err := f.mayReplace(env); err != nil {
		return err
	}
	if err := kubeconfig.WriteEphemeral(f.path, config); err != nil {
		return &ephemeralError{f.path, bare(err)}
	}
	f.cert = cert
	return nil
}

// mayReplace refuses a file that is not of a local proxy, and the one that
// kubectl takes for the user's own.
func (f *ephemeralFile) mayReplace(env *Env) error {
	own := filepath.Join(env.home(), ".kube", "config")
	a, aerr := os.Stat(f.path)
	b, berr := os.Stat(own)
	if f.path == own || aerr == nil && berr == nil && os.SameFile(a, b) {
		return &ephemeralError{f.path, errors.New("it is your own kubeconfig")}
	}
	ours, err := kubeconfig.IsEphemeral(f.path)
	if err != nil {
		return &ephemeralError{f.path, bare(err)}
	}
	if !ours {
		return &ephemeralError{f.path, errors.New("there is a file that is not of a local proxy")}
	}
	return nil
}

// remove removes the file, unless another proxy has taken its place.
func (f *ephemeralFile) remove() error {
	if f.cert == nil {
		return nil
	}
	data, err := os.ReadFile(f.path)
	if err == nil && bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(f.cert))) {
		err = os.Remove(f.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ephemeralError says that the kubeconfig of a local proxy cannot be written.
type ephemeralError struct {
	path string
	err  error
}

func (e *ephemeralError) Error() string { return fmt.Sprintf("write kubeconfig %s: %v", e.path, e.err) }

func (e *ephemeralError) Unwrap() error { return e.err }

// Hint says what to do.
func (*ephemeralError) Hint() string {
	return "name another file with --kubeconfig or TELEPORT_KUBECONFIG"
}

// shell is the user's shell.
func shell(env *Env) string {
	if runtime.GOOS == "windows" {
		if s := env.Getenv("ComSpec"); s != "" {
			return s
		}
		return "cmd.exe"
	}
	if s := env.Getenv("SHELL"); s != "" {
		return s
	}
	return "/bin/sh"
}

// setVariable is the line by which a shell sets an environment variable.
func setVariable(format, key, value string) string {
	if format == "text" && runtime.GOOS == "windows" {
		format = "powershell"
	}
	switch format {
	case "powershell":
		return "$Env:" + key + " = '" + strings.ReplaceAll(value, "'", "''") + "'"
	case "command-prompt":
		return "set \"" + key + "=" + value + "\""
	}
	return "export " + assignment(key+"="+value)
}

//go:build linux

package peer

import (
	"fmt"
	"os"
	"path/filepath"
)

// WebDAV is a running nginx that keeps files: GET and HEAD of what is there, PUT
// of any size and DELETE. It speaks HTTP without TLS.
type WebDAV struct {
	*Server
	Root string // the directory with the files
}

// StartWebDAV runs nginx as an ordinary web server. It answers requests without
// a length, too, and reads a body only when the request is one that it takes.
func StartWebDAV() (*WebDAV, error) {
	if err := FindAll("nginx"); err != nil {
		return nil, err
	}
	s, err := blueprint{
		name: "webdav",
		prepare: func(dir string) error {
			for _, name := range []string{"root", "body"} {
				path := filepath.Join(dir, name)
				if err := os.Mkdir(path, 0o777); err != nil {
					return err
				}
				if err := os.Chmod(path, 0o777); err != nil { // for the worker, which is not root
					return err
				}
			}
			return nil
		},
		argv: func(dir string, addrs []string) ([]string, error) {
			conf, err := write(dir, "nginx.conf", fmt.Sprintf(webDAVConfig, dir, addrs[0]), 0o644)
			return []string{"nginx", "-e", "stderr", "-p", dir, "-c", conf}, err
		},
	}.start()
	if err != nil {
		return nil, err
	}
	return &WebDAV{Server: s, Root: filepath.Join(s.Dir, "root")}, nil
}

const webDAVConfig = `daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	client_max_body_size 0;
	sendfile on;
	server {
		listen %[2]s;
		root %[1]s/root;
		location / { dav_methods PUT DELETE; }
		location /small/ { client_max_body_size 1k; dav_methods PUT; }
	}
}
`

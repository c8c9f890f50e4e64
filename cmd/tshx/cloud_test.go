package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tshx/internal/lab"
	"tshx/internal/program"
)

// A certificate that has ended still says what it was for: only one of the cloud is
// worth renewing.
func TestCloudAppsExpired(t *testing.T) {
	expired := lab.HomeOptions{TTL: -13 * time.Hour}
	a := newAppsLab(t, expired, "amazon", "echo")
	for command, want := range map[string]string{
		"aws":   `app "amazon" certificate expired`,
		"azure": `Azure app certificate not found`,
		"gcp":   `Google Cloud app certificate not found`,
	} {
		if code, _, talk := a.tshx("proxy", command); code != exitLogin || !strings.Contains(talk, want) || strings.Contains(talk, "echo") {
			t.Errorf("%s: %d %s", command, code, talk)
		}
	}
}

// --app behind the first of aws's words is aws's, and who needs it is told so.
func TestAppBehind(t *testing.T) {
	several := program.Usagef("name an app")
	for args, want := range map[string]bool{"s3 ls --app a": true, "s3 ls --app=a": true, "s3 ls": false, "s3 cp a b --application x": false} {
		err := appBehind(several, "aws", false, strings.Fields(args))
		if exitCode(err) != exitUsage || strings.Contains(err.Error(), "tshx aws --app NAME") != want {
			t.Errorf("%s: %v", args, err)
		}
	}
	for _, err := range []error{appBehind(several, "aws", true, []string{"--app"}), appBehind(errors.New("x"), "aws", false, []string{"--app"})} {
		if strings.Contains(err.Error(), "first") {
			t.Error(err)
		}
	}
}

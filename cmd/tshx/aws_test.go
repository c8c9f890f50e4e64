package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/program"
)

func TestReadAWS(t *testing.T) {
	for _, tt := range []struct {
		line  string
		want  awsInvocation
		local bool
	}{
		{"", awsInvocation{program: "aws"}, true},
		{"s3 ls --app x", awsInvocation{program: "aws", args: []string{"s3", "ls", "--app", "x"}}, false},
		{"--app a --app=b --cluster c s3 ls", awsInvocation{program: "aws", apps: []string{"a", "b"}, cluster: "c", args: []string{"s3", "ls"}}, false},
		{"--region x --app a", awsInvocation{program: "aws", args: []string{"--region", "x", "--app", "a"}}, false},
		{"-e s3 ls", awsInvocation{program: "aws", endpoint: true, args: []string{"s3", "ls"}}, false},
		{"--endpoint-url --app a s3 ls", awsInvocation{program: "aws", endpoint: true, apps: []string{"a"}, args: []string{"s3", "ls"}}, false},
		{"--endpoint-url http://x s3 ls", awsInvocation{program: "aws", args: []string{"--endpoint-url", "http://x", "s3", "ls"}}, false},
		{"--endpoint-url=http://x s3 ls", awsInvocation{program: "aws", args: []string{"--endpoint-url=http://x", "s3", "ls"}}, false},
		{"--exec terraform -- plan --app x", awsInvocation{program: "terraform", args: []string{"plan", "--app", "x"}}, false},
		{"--exec terraform help", awsInvocation{program: "terraform", args: []string{"help"}}, false},
		{"s3 help", awsInvocation{program: "aws", args: []string{"s3", "help"}}, true},
		{"--help", awsInvocation{program: "aws", args: []string{"--help"}}, true},
		{"ec2 wait instance-running help", awsInvocation{program: "aws", args: []string{"ec2", "wait", "instance-running", "help"}}, true},
		{"s3 cp s3://b/k help", awsInvocation{program: "aws", args: []string{"s3", "cp", "s3://b/k", "help"}}, false},
		{"ssm get-parameter --name help", awsInvocation{program: "aws", args: []string{"ssm", "get-parameter", "--name", "help"}}, false},
		{"configure list", awsInvocation{program: "aws", args: []string{"configure", "list"}}, true},
		{"s3 cp --version", awsInvocation{program: "aws", args: []string{"s3", "cp", "--version"}}, false},
	} {
		got, err := readAWS(strings.Fields(tt.line))
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(awsInvocation{})); diff != "" || err != nil || got.local() != tt.local {
			t.Errorf("%s: %v, local %v\n%s", tt.line, err, got.local(), diff)
		}
	}
	for _, args := range [][]string{{"--app"}, {"--app="}, {"--exec", ""}, {"--cluster"}} {
		var usage *program.UsageError
		if _, err := readAWS(args); !errors.As(err, &usage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// Of a user's configuration only what does not say as whom to work is taken.
func TestParseAWSConfig(t *testing.T) {
	got := parseAWSConfig([]byte("region = lost\n[ default ]\r\nregion=us-east-1\r\naws_access_key_id = A\n\taws = x\n; c\n" +
		"s3 =\n  endpoint_url = http://x\n\n  max_concurrent_requests = 2\nsso_session = s\n[profile  a b]\noutput = json\n[sso-session s]\n[profile empty]\n"))
	want := map[string]string{
		"default":     "region=us-east-1\ns3 =\n  endpoint_url = http://x\n  max_concurrent_requests = 2\n",
		"profile a b": "output = json\n", "sso-session s": "", "profile empty": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestScriptLines(t *testing.T) {
	vars := []variable{{"A", `it's "$x"`}, {"B", ""}}
	for format, want := range map[string]string{
		formatUnix:          "export A='it'\\''s \"$x\"'\nunset B\n",
		formatPowerShell:    "$Env:A = 'it''s \"$x\"'\nRemove-Item -ErrorAction Ignore Env:B\n",
		formatCommandPrompt: "set \"A=it's \"$x\"\"\nset \"B=\"\n",
		formatText:          "A=it's \"$x\"\n",
	} {
		if diff := cmp.Diff(want, script(format, vars)); diff != "" {
			t.Errorf("%s:\n%s", format, diff)
		}
	}
	if got := set(vars); !slices.Equal(got, []string{`A=it's "$x"`}) {
		t.Errorf("%q", got)
	}
}

// Keys of our own look like those of AWS, which some programs demand, and no two are
// the same.
func TestAWSKeys(t *testing.T) {
	env, _ := testEnv()
	keys, err := awsKeys(env, 3)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if len(k.ID) != 20 || len(k.Secret) != 40 || seen[k.ID] || seen[k.Secret] {
			t.Errorf("%d and %d characters", len(k.ID), len(k.Secret))
		}
		seen[k.ID], seen[k.Secret] = true, true
	}
}

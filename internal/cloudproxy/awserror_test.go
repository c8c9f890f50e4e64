package cloudproxy

import (
	"encoding/json"
	"encoding/xml"
	"net/http/httptest"
	"strings"
	"testing"
)

// Errors are in the protocol of the service that was asked.
func TestWriteError(t *testing.T) {
	const text = `it's <wrong> & "bad"`
	cbor := "\xa2\x79\x00\x06__type\x79\x00\x0cAccessDenied\x79\x00\x07message\x79\x00\x14" + text
	for _, tt := range []struct {
		name, method, url, service string
		headers                    []string
		kind, root                 string // of XML
		want                       string
	}{
		{"s3", "GET", bucket + "/k", "s3", nil, typeXML, "Error", ""},
		{"s3, unsigned", "GET", "https://s3.amazonaws.com/k", "", nil, typeXML, "Error", ""},
		{"s3 head", "HEAD", bucket + "/k", "s3", nil, typeXML, "", ""},
		{"query", "POST", "https://sts.amazonaws.com/", "sts", []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}, typeXML, "ErrorResponse", ""},
		{"ec2", "POST", "https://ec2.eu-west-1.amazonaws.com/", "ec2", []string{"Content-Type", "application/x-www-form-urlencoded"}, typeXML, "Response", ""},
		{"rest xml", "GET", "https://route53.amazonaws.com/", "route53", nil, typeXML, "ErrorResponse", ""},
		{"json", "POST", "https://dynamodb.eu-west-1.amazonaws.com/", "dynamodb", []string{"X-Amz-Target", "x.y"}, "application/x-amz-json-1.1", "", ""},
		{"rest json", "GET", "https://lambda.eu-west-1.amazonaws.com/", "lambda", nil, "application/json", "", ""},
		{"cbor", "POST", "https://monitoring.eu-west-1.amazonaws.com/", "monitoring", []string{"Smithy-Protocol", "rpc-v2-cbor"}, typeCBOR, "", cbor},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, tt.method, tt.url, "", tt.headers...)
			if tt.service != "" {
				signing{service: tt.service}.sign(t, r, "")
			}
			w := httptest.NewRecorder()
			newTestAWS().WriteError(w, r, &Error{Status: 403, Text: text})
			if w.Code != 403 || w.Header().Get("Content-Type") != tt.kind || w.Header().Get("X-Amzn-Errortype") != "AccessDenied" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
			body := w.Body.String()
			switch {
			case tt.method == "HEAD" && body != "", tt.want != "" && body != tt.want:
				t.Errorf("%q", body)
			case tt.root != "":
				var e struct {
					XMLName       xml.Name
					Code, Message string
					Inner, Deeper *struct{ Code, Message string }
				}
				body = strings.NewReplacer("<Errors><Error>", "<Deeper>", "</Error></Errors>", "</Deeper>").Replace(body)
				if tt.root == "ErrorResponse" {
					body = strings.NewReplacer("<Error>", "<Inner>", "</Error>", "</Inner>").Replace(body)
				}
				if err := xml.Unmarshal([]byte(body), &e); err != nil || e.XMLName.Local != tt.root {
					t.Fatalf("%s, %v", body, err)
				}
				for _, in := range []*struct{ Code, Message string }{e.Inner, e.Deeper} {
					if in != nil {
						e.Code, e.Message = in.Code, in.Message
					}
				}
				if e.Code != "AccessDenied" || e.Message != text {
					t.Errorf("%s", body)
				}
			case strings.Contains(tt.kind, "json"):
				var e map[string]string
				if err := json.Unmarshal([]byte(body), &e); err != nil || e["message"] != text || e["__type"]+e["code"] != "AccessDenied" {
					t.Errorf("%s, %v", body, err)
				}
			}
		})
	}
}

func TestOwns(t *testing.T) {
	for host, want := range map[string]bool{
		"s3.amazonaws.com": true, "b.s3.eu-west-1.amazonaws.com": true, "amazonaws.com": true, "ec2.cn-north-1.amazonaws.com.cn": true,
		"s3.dualstack.us-east-1.api.aws": true, "sts.eusc-de-east-1.amazonaws.eu": true, "api.aws": true,
		"amazonaws.com.example.com": false, "xamazonaws.com": false, "notapi.aws": false, "aws": false, "": false, "com": false,
		"ssmmessages.us-east-1.amazonaws.com": false, "ssm.us-east-1.amazonaws.com": true,
	} {
		if got := ownsAWS(host, "443"); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	if ownsAWS("db.rds.amazonaws.com", "5432") || !ownsAWS("transcribestreaming.us-east-1.amazonaws.com", "8443") {
		t.Error("ports")
	}
}

// Hosts as botocore has them.
func TestEndpoint(t *testing.T) {
	for _, tt := range []struct{ service, region, target, want string }{
		{"s3", "eu-west-1", "", "s3.eu-west-1.amazonaws.com"},
		{"sts", "us-east-1", "", "sts.us-east-1.amazonaws.com"},
		{"iam", "us-east-1", "", "iam.amazonaws.com"},
		{"iam", "cn-north-1", "", "iam.amazonaws.com.cn"},
		{"ec2", "cn-north-1", "", "ec2.cn-north-1.amazonaws.com.cn"},
		{"ec2", "us-gov-west-1", "", "ec2.us-gov-west-1.amazonaws.com"},
		{"ec2", "us-isob-east-1", "", "ec2.us-isob-east-1.sc2s.sgov.gov"},
		{"ecr", "eu-west-1", "", "api.ecr.eu-west-1.amazonaws.com"},
		{"ses", "eu-west-1", "", "email.eu-west-1.amazonaws.com"},
		{"dynamodb", "eu-west-1", "DynamoDB_20120810.ListTables", "dynamodb.eu-west-1.amazonaws.com"},
		{"dynamodb", "eu-west-1", "DynamoDBStreams_20120810.ListStreams", "streams.dynamodb.eu-west-1.amazonaws.com"},
		{"qbusiness", "eu-west-1", "", "qbusiness.eu-west-1.api.aws"},
		{"sdb", "us-east-1", "", "sdb.amazonaws.com"},
		{"sdb", "eu-west-1", "", "sdb.eu-west-1.amazonaws.com"},
	} {
		if got := awsEndpoint(tt.service, tt.region, tt.target); got != tt.want {
			t.Errorf("%s in %s: %s, want %s", tt.service, tt.region, got, tt.want)
		}
	}
}

package cloudproxy

import "strings"

// awsSuffixes are the domains of AWS APIs: for each partition that of its regions
// and the one that has IPv6, too.
var awsSuffixes = []string{
	"amazonaws.com", "api.aws",
	"amazonaws.com.cn", "api.amazonwebservices.com.cn",
	"amazonaws.eu", "api.amazonwebservices.eu",
}

// ownsAWS reports whether TLS to a host ends here. Other ports than these lead to
// servers of one's own, such as databases.
func ownsAWS(host, port string) bool {
	return (port == "443" || port == "8443") && isAWS(host) && !passedAWS(host)
}

// isAWS reports whether a host, in lower case, is one of AWS.
func isAWS(host string) bool {
	for _, suffix := range awsSuffixes {
		if rest, ok := strings.CutSuffix(host, suffix); ok && (rest == "" || strings.HasSuffix(rest, ".")) {
			return true
		}
	}
	return false
}

// passedAWS reports whether a host of AWS is passed through: Session Manager's
// stream. It is a WebSocket that is not signed, but begins with a token of ssm's
// answer, and its client, the session-manager-plugin, trusts the system's CAs
// only.
func passedAWS(host string) bool { return strings.HasPrefix(host, "ssmmessages.") }

// isSTS reports whether a host of AWS is one of STS, also where it is reached by an
// endpoint of one's own network.
func isSTS(host string) bool {
	first, rest, _ := strings.Cut(strings.ToLower(host), ".")
	if strings.HasPrefix(first, "vpce-") {
		first, _, _ = strings.Cut(rest, ".")
		return first == "sts" && strings.Contains(rest, ".vpce.")
	}
	return (first == "sts" || first == "sts-fips") && !strings.HasPrefix(rest, "s3")
}

// awsSuffixOf is the domain of a region.
func awsSuffixOf(region string) string {
	for prefix, suffix := range map[string]string{
		"cn-": "amazonaws.com.cn", "eusc-": "amazonaws.eu",
		"us-iso-": "c2s.ic.gov", "us-isob-": "sc2s.sgov.gov", "us-isof-": "csp.hci.ic.gov", "eu-isoe-": "cloud.adc-e.uk",
	} {
		if strings.HasPrefix(region, prefix) {
			return suffix
		}
	}
	return "amazonaws.com"
}

// awsPrefixes are the first labels of hosts, by the name that a service signs with
// where that is another one. Several services sign with one name in some cases:
// then it is the main one's, except where the request tells (awsEndpoint).
var awsPrefixes = map[string]string{
	"IoTSecuredTunneling":    "api.tunneling.iot",
	"appstream":              "appstream2",
	"aws-marketplace":        "metering.marketplace",
	"awsssoportal":           "portal.sso",
	"detective":              "api.detective",
	"ecr":                    "api.ecr",
	"ecr-public":             "api.ecr-public",
	"iot-jobs-data":          "data.jobs.iot",
	"iotdata":                "data-ats.iot",
	"iotdeviceadvisor":       "api.iotdeviceadvisor",
	"ioteventsdata":          "data.iotevents",
	"iotmanagedintegrations": "api.iotmanagedintegrations",
	"iotwireless":            "api.iotwireless",
	"lex":                    "models-v2-lex",
	"mediatailor":            "api.mediatailor",
	"memorydb":               "memory-db",
	"mobiletargeting":        "pinpoint",
	"payment-cryptography":   "controlplane.payment-cryptography",
	"pricing":                "api.pricing",
	"qapps":                  "data.qapps",
	"sagemaker":              "api.sagemaker",
	"ses":                    "email",
	"sso-oauth":              "oidc",
	"timestream":             "query.timestream",
	"wickr":                  "admin.wickr",
}

// awsGlobal are the services that have one host for all regions of a partition.
var awsGlobal = map[string]string{
	"budgets": "budgets", "cloudfront": "cloudfront", "health": "global.health", "iam": "iam", "importexport": "importexport",
	"route53": "route53", "savingsplans": "savingsplans", "waf": "waf",
}

// awsDualStack are the services whose hosts are all in the domain that has IPv6.
var awsDualStack = map[string]bool{
	"datazone": true, "eks-auth": true, "gameliftstreams": true, "internetmonitor": true, "kendra-ranking": true,
	"notifications": true, "notifications-contacts": true, "qbusiness": true,
}

// awsEndpoint is the host of a service in a region, by the rules that the SDKs
// have (botocore's endpoints), for clients that were told another one. target is
// the X-Amz-Target of the request.
func awsEndpoint(service, region, target string) string {
	suffix := awsSuffixOf(region)
	switch {
	case awsGlobal[service] != "":
		return awsGlobal[service] + "." + suffix
	case awsDualStack[service]:
		return service + "." + region + ".api.aws"
	case service == "sdb" && region == "us-east-1":
		return "sdb." + suffix
	case strings.HasPrefix(target, "DynamoDBStreams_"):
		return "streams.dynamodb." + region + "." + suffix
	}
	prefix := awsPrefixes[service]
	if prefix == "" {
		prefix = service
	}
	return prefix + "." + region + "." + suffix
}

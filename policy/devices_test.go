package policy

import "testing"

func TestDevices(t *testing.T) {
	for _, tt := range []struct {
		pattern, fits, not string
	}{
		{"100", "100", "1000"},
		{"10?", "109", "1090"},
		{"+1425*", "+14255550100", "14255550100"},
		{"200-299", "200", "300"},
		{"200-299", "299", "2999"},
		{"200-299", "250", "25a"},
		{"200-299", "250", "2500"},
		{"+4989100-+4989199", "+4989150", "4989150"},
		{`/2[0-4]\d/`, "249", "250"},
		{`/2[0-4]\d/`, "200", "1200"},
		{`/1|2/`, "2", "12"},
		{"/sip:.*@contoso\\.com/", "sip:Alice@Contoso.COM", "sip:alice@contoso.com.evil"},
		{"alice-bob", "alice-bob", "alice"},
		{"200-299", "299", "199"},
		{"200-299", "200", "20"},
		{"000-999", "009", "-09"},
		{"20-1000", "20-1000", "30"}, // no range: one has more digits
		{"20-", "20-", "20"},
		{"/2/", "2", "/2/"},
		{"a2/", "a2/", "2"},
		{"#0-10", "#0-10", "05"}, // no ranges: not of digits
		{"29-ab", "29-ab", "29"},
		{"/2a", "/2a", "2"},
		{"//", "//", ""}, // no expression
		{"7-7", "7", "6"},
		{"0-9", "9", ":"},
		{"0-9", "0", "/"},
		{"+1-+9", "+5", "5"},
		{"SIP:*", "sip:alice@contoso.com", "tel:alice"},
		{"a/b*", "A/bc", "a/c"},
		{"1*0*", "1900", "1911"},
		{"[12]0", "20", "30"},
		{`1\*`, "1*", "10"},
	} {
		if !ValidDevices(tt.pattern) || !CompileDevices([]string{"none", tt.pattern}).Match(tt.fits) || CompileDevices([]string{tt.pattern}).Match(tt.not) {
			t.Errorf("%s: valid %v, %s %v, %s %v", tt.pattern, ValidDevices(tt.pattern), tt.fits, CompileDevices([]string{tt.pattern}).Match(tt.fits), tt.not, CompileDevices([]string{tt.pattern}).Match(tt.not))
		}
	}
	if CompileDevices([]string{"/(/"}).Match("(") || CompileDevices(nil).Match("100") {
		t.Error("an expression that cannot be used, or no pattern, fits something")
	}
	for _, pattern := range []string{"", "299-200", "/(/", "[", "/a(?<b/"} {
		if ValidDevices(pattern) {
			t.Errorf("%q is taken", pattern)
		}
	}
	for pattern, want := range map[string]bool{"2*": false, "/2/": false, "200-299": true, "10?": true} {
		if Finite(pattern) != want {
			t.Error(pattern)
		}
	}
}

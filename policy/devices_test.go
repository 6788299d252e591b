package policy

import "testing"

func TestMatchDevice(t *testing.T) {
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
	} {
		if !ValidDevices(tt.pattern) || !MatchDevice([]string{"none", tt.pattern}, tt.fits) || MatchDevice([]string{tt.pattern}, tt.not) {
			t.Errorf("%s: valid %v, %s %v, %s %v", tt.pattern, ValidDevices(tt.pattern), tt.fits, MatchDevice([]string{tt.pattern}, tt.fits), tt.not, MatchDevice([]string{tt.pattern}, tt.not))
		}
	}
	if MatchDevice([]string{"/(/"}, "(") || MatchDevice(nil, "100") {
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

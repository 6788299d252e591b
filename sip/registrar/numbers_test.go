package registrar

import "testing"

func TestNumber(t *testing.T) {
	for uri, want := range map[string]string{
		"sip:101@x": "101", "sip:%23100@x": "#100", "sip:*21@x": "*21", "sip:+49-30.1234(5)@x;user=phone": "+493012345", "sip:101;phone-context=a@x": "101",
		"sip:alice@x": "", "sip:@x": "", "sip:x": "", "tel:101": "101", "": "", "sip:1%00@x": "", "sip:123456789012345678901234567890123@x": "", "sip:1%zz@x": "",
		"sip:103:pw@x": "103", "sip:103:p@w@x": "103", "sip:103:1;a=b@x:5062;transport=tcp": "103", "sip::103@x": "", "sip:alice:103@x": "",
	} {
		if got := Number(uri); got != want {
			t.Errorf("%q: %q, want %q", uri, got, want)
		}
	}
}

func FuzzNumber(f *testing.F) {
	f.Add("sip:%23100;x=1@h")
	f.Fuzz(func(t *testing.T, uri string) {
		if n := Number(uri); n != "" && !Dialable(n) {
			t.Errorf("%q: %q", uri, n)
		}
	})
}

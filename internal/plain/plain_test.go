package plain

import "testing"

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"plain", 0, "plain"},
		{" two\r\n\tlines \n", 0, "two lines"},
		{"\x1b[31mred\x07", 0, "[31mred"},
		{"bad\xff\xfebytes", 0, "bad bytes"},
		{"naïve …", 0, "naïve …"},
		{"übermäßig", 4, "über..."},
		{"four", 4, "four"},
		{"", 3, ""},
	} {
		if got := Line(tt.in, tt.most); got != tt.want {
			t.Errorf("Line(%q, %d) = %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
}

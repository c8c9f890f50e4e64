package plain

import "testing"

func TestCopyable(t *testing.T) {
	for in, want := range map[string]string{
		"psql '/two  spaces/x'":       "psql '/two  spaces/x'",
		"a\nb\tc\x1b[2J\u009b\u202ed": "a?b?c?[2J??d",
		"bad\xff":                     "bad?",
		"naïve …":                     "naïve …",
	} {
		if got := Copyable(in); got != want {
			t.Errorf("Copyable(%q) = %q, want %q", in, got, want)
		}
	}
}

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

func TestSome(t *testing.T) {
	for want, names := range map[string][]string{
		"":                                  nil,
		"a, b":                              {"a", "b"},
		"1, 2, 3, 4, 5, 6, 7, 8":            {"1", "2", "3", "4", "5", "6", "7", "8"},
		"1, 2, 3, 4, 5, 6, 7, 8 and 2 more": {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"},
	} {
		if got := Some(names, ", "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

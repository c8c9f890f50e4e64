package identity_test

import (
	"reflect"

	"tshx/internal/identity"
)

// fields maps the path of each field of id to its content, empty when unset.
func fields(id identity.Identity) map[string]string {
	all := make(map[string]string)
	collect(all, "", reflect.ValueOf(id))
	return all
}

func collect(all map[string]string, path string, v reflect.Value) {
	for i := range v.NumField() {
		name, field := path+v.Type().Field(i).Name, v.Field(i)
		switch field.Kind() {
		case reflect.Struct:
			collect(all, name+".", field)
		case reflect.Slice:
			all[name] = ""
			if field.Len() > 0 {
				all[name] = field.Index(0).String()
			}
		default:
			all[name] = field.String()
		}
	}
}

;; expect: malformed trap exit:0
;; Has no memory at all.
(module (func (export "_start")))

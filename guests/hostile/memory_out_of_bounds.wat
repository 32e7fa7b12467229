;; expect: trap
;; Reads past the end of its memory.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (i64.load offset=0xfffffff0 (i32.const -1)))))

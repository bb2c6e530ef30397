import './start.cases.js'
import './foreign-rows.cases.js'

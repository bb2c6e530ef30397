import './ending.cases.js'
